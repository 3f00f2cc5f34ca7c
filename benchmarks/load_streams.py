"""How many streams one ingress feeds in real time, and what it adds to each: against the paced engine.

    python -m benchmarks.load_streams [--streams 50 100 200 300 400 500] [--format pcm] [--proxy haproxy]

The engine hands every stream half a second of sound at a time, at 1.5 times real time, and costs no CPU; what is
measured is speech replica, ingress, encoder and proxy: HAProxy, as the chart deploys it, or Serve's own. Streams begin
spread over as long as they are sure to overlap. A listener begins to play at the first byte: a stream falls behind when
what has come is shorter than what has been played since. The last line is one JSON object:

max_streams              the largest N of which at least 99 % never fall behind; 0 if none
overhead_p50_ms          first byte after the request was sent, less the time that the engine takes for it: pcm, one
                         stream at a time
overhead_per_chunk_ms    from the engine's having made a later chunk to its last byte's arrival, likewise (median of the
                         second to the fifth: later ones wait for each other where the listener has enough)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from benchmarks import proxies
from benchmarks.paced import CHUNK_S, PACE, SAMPLE_RATE
from benchmarks.proxies import PROXIES
from benchmarks.stamps import BYTES, age_s
from serving.local import RAY_ENVIRONMENT
from tests.e2e.servers import Server, serving

STREAMS = (50, 100, 200, 300, 400, 500)
STREAM_PACE = 1.5
ENOUGH = 0.99
BYTES_PER_S = {"mp3": 96_000 // 8, "pcm": 2 * SAMPLE_RATE}
"""Of audio; mp3 has a constant rate here."""

BYTES_OF_CHUNK = round(BYTES_PER_S["pcm"] * CHUNK_S)
"""As the engine makes it, in pcm."""

TEXT = "Nothing but a tone comes of this, for as long as the text would take to be said aloud by somebody. " * 4
"""One piece of 25 seconds or so."""


@dataclass
class Stream:
    """What a listener saw: when how many seconds of audio were there."""

    due: float
    sent: float = 0.0
    status: int = 0
    arrivals: list[tuple[float, float]] = field(default_factory=list)

    @property
    def first_s(self) -> float:
        return self.arrivals[0][0] - self.sent

    @property
    def in_time(self) -> bool:
        """Whether at every arrival what had come before was not yet played."""
        if self.status != 200 or not self.arrivals:
            return False
        began = self.arrivals[0][0]
        before = (had for _, had in self.arrivals)
        return all(moment - began <= had for (moment, _), had in zip(self.arrivals[1:], before, strict=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS)
    parser.add_argument("--format", choices=sorted(BYTES_PER_S), default="pcm")
    parser.add_argument("--proxy", choices=PROXIES, default="haproxy")
    options = parser.parse_args()
    print(json.dumps(measured(options.streams, options.format, options.proxy)))


def measured(numbers: Sequence[int] = STREAMS, audio_format: str = "pcm", proxy: str = "haproxy") -> dict[str, float]:
    """The figures of the last line."""
    with paced(STREAM_PACE, max(numbers), proxy) as server:
        return figures(server, numbers, audio_format)


@contextmanager
def paced(pace: float, ongoing: int, proxy: str, settings: dict[str, str] | None = None) -> Iterator[Server]:
    """A server with the paced engine, which takes ``ongoing`` requests at a time; ``settings`` are more variables."""
    environment = {
        **RAY_ENVIRONMENT,
        **proxies.environment(proxy),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        **(settings or {}),
        PACE: str(pace),
        "KUBEVOICE_ENGINE": "espeak",  # in its place
        "KUBEVOICE_LIMITS__ONGOING_PER_REPLICA": str(ongoing),
        "KUBEVOICE_LIMITS__QUEUED_PER_INGRESS": str(2 * ongoing),
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "data", environment=environment, module="benchmarks.paced") as server,
    ):
        yield server


def figures(server: Server, numbers: Sequence[int], audio_format: str) -> dict[str, float]:
    """Of a running server; the numbers of streams rise until one is too many."""
    first_ms, chunk_ms = asyncio.run(overheads(server.url))
    most = 0
    for number in sorted(numbers):
        streams = asyncio.run(at_once(server.url, number, audio_format))
        share = sum(each.in_time for each in streams) / number
        first = statistics.median([each.first_s for each in streams if each.arrivals] or [0.0])
        print(f"{number:4d} streams: {share:6.1%} in time, first byte after {first * 1000:.0f} ms")
        if share < ENOUGH:
            break
        most = number
    return {"max_streams": most, "overhead_p50_ms": first_ms, "overhead_per_chunk_ms": chunk_ms}


async def at_once(url: str, number: int, audio_format: str) -> list[Stream]:
    """``number`` streams that begin one after the other within a third of their length."""
    lasts = 0.07 * len(TEXT) / STREAM_PACE
    async with client() as session:
        now = time.perf_counter()
        streams = [Stream(now + index * lasts / 3 / number) for index in range(number)]
        await asyncio.gather(*(listen(session, url, stream, audio_format) for stream in streams))
    return streams


async def overheads(url: str, rounds: int = 20) -> tuple[float, float]:
    """Milliseconds that the path adds to a stream's first chunk and to each later one, with one stream at a time."""
    firsts, later = [], []
    async with client() as session:
        for index in range(rounds + 2):
            first_s, delays = await delays_of_chunks(session, url)
            if index >= 2:  # those before are a warm-up
                firsts.append(first_s - CHUNK_S / STREAM_PACE)
                later += delays
    return round(statistics.median(firsts) * 1000, 1), round(statistics.median(later) * 1000, 1)


async def delays_of_chunks(session: aiohttp.ClientSession, url: str, chunks: int = 5) -> tuple[float, list[float]]:
    """Seconds to the first byte of a stream, and those that each of the chunks after its first one was under way."""
    size, sent, first_s = BYTES_OF_CHUNK, time.perf_counter(), 0.0
    data, delays = bytearray(), []
    async with session.post(f"{url}/v1/audio/speech", json=speech("pcm")) as answer:
        async for piece in answer.content.iter_any():
            first_s = first_s or time.perf_counter() - sent
            whole = len(data) // size
            data += piece
            delays += [age_s(data[start : start + BYTES]) for start in range(whole * size, len(data) - size + 1, size)]
            if len(delays) >= chunks:
                break
    return first_s, delays[1:]


def client() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=300))


async def listen(
    session: aiohttp.ClientSession, url: str, stream: Stream, audio_format: str, chunks: int | None = None
) -> None:
    """Read one stream to its end, or ``chunks`` pieces of it."""
    body = speech(audio_format)
    await asyncio.sleep(max(0.0, stream.due - time.perf_counter()))
    stream.sent, had = time.perf_counter(), 0
    try:
        async with session.post(f"{url}/v1/audio/speech", json=body) as answer:
            stream.status = answer.status
            async for data in answer.content.iter_any():
                had += len(data)
                stream.arrivals.append((time.perf_counter(), had / BYTES_PER_S[audio_format]))
                if chunks is not None and len(stream.arrivals) == chunks:
                    return
    except (aiohttp.ClientError, OSError, TimeoutError):
        stream.status = 0


def speech(audio_format: str) -> dict[str, str]:
    """The request's body."""
    return {"model": "tts-1", "voice": "default", "input": TEXT, "response_format": audio_format}


if __name__ == "__main__":
    main()
