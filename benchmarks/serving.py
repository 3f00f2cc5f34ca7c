"""The serving path with the embedded engine: how soon the first byte leaves, what Ray Serve and HTTP add, what stays.

    python -m benchmarks.serving [--rounds 10]

One run measures the server and, beside it in this process, the same engine and encoder called directly. The last line
is one JSON object:

first_byte_share    time to the first byte / time to the last byte, for a text of 4,000 characters (median)
overhead_p50_ms     time to the first byte of a short sentence through HTTP and Ray Serve, less the same without them
ingress_growth_mb   growth of the ingress's resident memory over `rounds` answers of about 20 minutes of audio each
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from serving.api.streaming import AudioStream
from serving.engines.base import SpeechRequest, Voice
from serving.engines.espeak import EspeakEngine
from serving.metrics import LocalMetrics
from tests.e2e.servers import Server, serving

CLIENT = httpx.Client(timeout=300)  # one for all: making a client costs more than what is measured

SHORT = "Hello from kubevoice, this is a short sentence."
LONG = " ".join(f"Sentence {index} of a text that goes on for quite some time." for index in range(80))[:4000]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data") as server:
        speak(server, SHORT, "mp3")
        shares = [first / total for first, total in (speak(server, LONG, "mp3") for _ in range(rounds))]
        through = [speak(server, SHORT, "mp3")[0] for _ in range(5 * rounds)]
        direct = asyncio.run(direct_first_bytes(5 * rounds))
        growth = ingress_growth(server, rounds)
    overhead = statistics.median(through) - statistics.median(direct)
    print(f"first byte of {len(LONG)} characters: {statistics.median(shares):.1%} of the total (max {max(shares):.1%})")
    print(f"first byte of a short sentence: {ms(through)} ms through the server, {ms(direct)} ms called directly")
    result = {
        "first_byte_share": round(statistics.median(shares), 4),
        "overhead_p50_ms": round(overhead * 1000, 2),
        "ingress_growth_mb": round(growth / 2**20, 2),
    }
    print(json.dumps(result))


def speak(server: Server, text: str, audio_format: str, speed: float = 1.0) -> tuple[float, float]:
    """Seconds to the first and to the last byte of one answer."""
    body = {"model": "tts-1", "voice": "alloy", "input": text, "response_format": audio_format, "speed": speed}
    began = time.perf_counter()
    first = 0.0
    with CLIENT.stream("POST", f"{server.url}/v1/audio/speech", json=body) as answer:
        answer.raise_for_status()
        for _ in answer.iter_raw():
            first = first or time.perf_counter() - began
    return first, time.perf_counter() - began


async def direct_first_bytes(count: int) -> list[float]:
    """Seconds to the first mp3 byte with no server: the same engine and encoder in this process."""
    engine, metrics = EspeakEngine(), LocalMetrics()
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        request = SpeechRequest(text=SHORT, voice=Voice("f1", preset="f1"), language="en")
        stream = AudioStream(engine.stream(request), "mp3", "espeak", metrics)
        await stream.open()
        seconds.append(time.perf_counter() - began)
        await stream.close()
    await engine.close()
    return seconds


def ingress_growth(server: Server, rounds: int) -> int:
    """Bytes by which the ingress's resident memory grew over long answers, after short ones have warmed it."""
    ingress = server.replicas("Ingress")[0]
    for _ in range(rounds):
        speak(server, LONG[:400], "pcm", speed=0.25)
    before = ingress.memory_info().rss
    for _ in range(rounds):
        speak(server, LONG, "pcm", speed=0.25)
    return int(ingress.memory_info().rss - before)


def ms(seconds: list[float]) -> str:
    """Median and 95th percentile in milliseconds."""
    return f"{statistics.median(seconds) * 1000:.1f} (p95 {statistics.quantiles(seconds, n=20)[-1] * 1000:.1f})"


if __name__ == "__main__":
    main()
