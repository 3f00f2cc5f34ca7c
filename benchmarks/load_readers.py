"""Clients that stop reading: what they cost the server and a client that reads.

    python -m benchmarks.load_readers [--readers 500] [--stalled 60] [--format pcm] [--proxy haproxy]

Against the paced engine, which hands everything out at once: ``--readers`` connections ask for 28 seconds of audio,
read one byte and stop, a few at a time, because more are refused. Then one client asks for a sentence over and over.
The server cuts after ``--stalled`` seconds (`limits.stalled_client_s`). The last line is one JSON object:

fast_p50_ms, fast_p95_ms              first audio of the reading client before there are others
fast_slow_p50_ms, fast_slow_p95_ms    the same while they stand still
growth_mb                             growth of the server's processes when the last stopped, before the first is cut
growth_after_mb                       the same after all were cut
cut, held                             connections that the server ended, and that it still holds
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import psutil

from benchmarks.load_client import p95
from benchmarks.load_streams import Stream, client, listen, paced
from benchmarks.proxies import PROXIES
from tests.e2e.servers import Server

ONGOING = 64
AT_ONCE = 16
TEXT = ("A text of four hundred characters, all of which are to be read aloud one after the other. " * 50)[:400]
"""About 28 seconds, 1.3 MB of pcm. Longer answers cost more in proportion, and take longer to measure."""

SMALL_BUFFER = 4096
"""Bytes of the readers' receive buffers: what the kernel keeps for them does not lie in the server."""

SETTLE_S = 3.0


@dataclass
class Readers:
    """Connections that stand still; ``refused`` were answered with another status than 200 and are closed."""

    url: str
    streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)
    refused: int = 0

    async def add(self, body: bytes) -> None:
        """Ask, read one byte of the audio, and stop."""
        host, port = self.url.removeprefix("http://").split(":")
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=connection, limit=SMALL_BUFFER)
        head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        said = await reader.readuntil(b"\r\n\r\n")
        if said.split(b" ", 2)[1] != b"200":
            self.refused += 1
            writer.close()
            return
        await reader.readexactly(1)
        self.streams.append((reader, writer))

    async def fill(self, number: int, body: bytes) -> None:
        """``number`` of them, those that are refused asked again."""
        while (missing := number - len(self.streams)) > 0:
            refused = self.refused
            await asyncio.gather(*(self.add(body) for _ in range(min(missing, AT_ONCE))))
            if self.refused > refused:
                await asyncio.sleep(0.2)

    def held(self, server: Server) -> int:
        """Those whose connection the server still has open."""
        port = int(self.url.rpartition(":")[2])
        theirs = {peer for process in family(server) for peer in peers(process, port)}
        return len(theirs & {writer.get_extra_info("sockname")[1] for _, writer in self.streams})

    async def held_after(self, server: Server, seconds: float) -> int:
        """Those that are still held after ``seconds``, or 0 as soon as none is."""
        for _ in range(round(seconds)):
            if not self.held(server):
                break
            await asyncio.sleep(1.0)
        return self.held(server)

    def close(self) -> None:
        for _, writer in self.streams:
            writer.transport.abort()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=500)
    parser.add_argument("--stalled", type=float, default=60.0, help="seconds after which the server cuts")
    parser.add_argument("--format", choices=("mp3", "pcm"), default="pcm")
    parser.add_argument("--asking", type=float, default=10.0, help="seconds that the reading client is measured for")
    parser.add_argument("--proxy", choices=PROXIES, default="haproxy")
    options = parser.parse_args()
    print(json.dumps(measured(options.readers, options.format, options.asking, options.stalled, options.proxy)))


def measured(
    number: int = 500,
    audio_format: str = "pcm",
    asking_s: float = 10.0,
    stalled_s: float = 60.0,
    proxy: str = "haproxy",
) -> dict[str, float | int]:
    """The figures of the last line."""
    cut = {"KUBEVOICE_LIMITS__STALLED_CLIENT_S": str(stalled_s)}
    with paced(0, ONGOING, proxy, cut) as server:
        return asyncio.run(figures(server, number, audio_format, asking_s, stalled_s))


async def figures(
    server: Server, number: int, audio_format: str, asking_s: float, stalled_s: float
) -> dict[str, float | int]:
    """Of a running server."""
    body = request(TEXT, audio_format)
    warm, readers = Readers(server.url), Readers(server.url)
    await warm.fill(4, body)
    warm.close()
    before = await ask(server.url, asking_s)
    size = resident(server)
    began = time.perf_counter()
    await readers.fill(number, body)
    await asyncio.sleep(SETTLE_S)
    print(f"{number} stand still after {time.perf_counter() - began:.0f} s; {readers.refused} were refused at first")
    growth, names = resident(server) - size, grown(server)
    print(f"largest: {names}")
    during = await ask(server.url, asking_s)
    held = await readers.held_after(server, 2 * stalled_s)
    after = resident(server) - size
    readers.close()
    return {
        "readers": number,
        "fast_p50_ms": ms(statistics.median(before)),
        "fast_p95_ms": ms(p95(before)),
        "fast_slow_p50_ms": ms(statistics.median(during)),
        "fast_slow_p95_ms": ms(p95(during)),
        "growth_mb": round(growth / 2**20, 1),
        "growth_after_mb": round(after / 2**20, 1),
        "cut": number - held,
        "held": held,
    }


async def ask(url: str, seconds: float) -> list[float]:
    """First-audio times of one client who asks for a short text again and again."""
    firsts, end = [], time.perf_counter() + seconds
    async with client() as session:
        while time.perf_counter() < end:
            stream = Stream(time.perf_counter())
            await listen(session, url, stream, "mp3", chunks=1)
            if stream.arrivals:
                firsts.append(stream.first_s)
    return firsts or [0.0]


def request(text: str, audio_format: str) -> bytes:
    body: dict[str, Any] = {"model": "tts-1", "voice": "default", "input": text, "response_format": audio_format}
    return json.dumps(body).encode()


def family(server: Server) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children(recursive=True)


def resident(server: Server) -> int:
    """Bytes of all of the server's processes."""
    return sum(size for size, _ in sizes(server))


def sizes(server: Server) -> list[tuple[int, str]]:
    found = []
    for process in family(server):
        try:
            found.append((process.memory_info().rss, " ".join(process.cmdline())[:60]))
        except psutil.Error:
            continue  # it has ended
    return found


def grown(server: Server) -> str:
    """The three largest processes."""
    return ", ".join(f"{name} {size / 2**20:.0f} MB" for size, name in sorted(sizes(server), reverse=True)[:3])


def peers(process: psutil.Process, port: int) -> list[int]:
    """The ports at the other end of the connections to ``port`` that a process has open."""
    try:
        found = process.net_connections("tcp")
    except psutil.Error:
        return []
    return [each.raddr.port for each in found if each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED]


def ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


if __name__ == "__main__":
    main()
