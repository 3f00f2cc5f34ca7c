"""What the benchmark of streams calls in time, and its listener against a small server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from benchmarks.load_streams import BYTES_PER_S, Stream, at_once, client, delays_of_chunks, listen
from benchmarks.paced import CHUNK_S, SAMPLE_RATE, SOUND, PacedEngine, chunks_of
from benchmarks.stamps import stamped
from serving.audio.encode import Encoder
from serving.engines.base import SpeechRequest, Voice
from tests.benchmarks.listening import listening


@asynccontextmanager
async def sounding(*pieces: int, pause_s: float = 0.0, status: int = 200) -> AsyncIterator[str]:
    """A server whose every answer is pieces of so many bytes, with pauses between."""

    async def speak(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=status)
        await answer.prepare(request)
        for piece in pieces:
            await answer.write(b"x" * piece)
            await asyncio.sleep(pause_s)
        return answer

    async with listening(speak) as url:
        yield url


@pytest.mark.parametrize(
    ("arrivals", "status", "in_time"),
    [
        ([(10.0, 0.5), (10.4, 1.0), (10.9, 1.5)], 200, True),
        ([(10.0, 0.5), (10.6, 1.0), (10.9, 1.5)], 200, False),
        ([(10.0, 0.5)], 200, True),
        ([(10.0, 0.5)], 429, False),
        ([], 200, False),
    ],
    ids=["always ahead", "once behind", "one piece", "refused", "nothing came"],
)
def test_a_stream_is_in_time_when_what_had_come_was_never_played_out(
    arrivals: list[tuple[float, float]], status: int, in_time: bool
) -> None:
    assert Stream(9.0, 9.0, status, arrivals).in_time is in_time


async def test_a_listener_counts_the_seconds_of_audio_that_came() -> None:
    second = BYTES_PER_S["mp3"]
    async with sounding(second, second) as url, client() as session:
        stream = Stream(0.0)
        await listen(session, url, stream, "mp3")
    assert stream.status == 200
    assert stream.arrivals[-1][1] == pytest.approx(2.0)


async def test_every_one_of_many_streams_is_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.load_streams.TEXT", "Short.")
    async with sounding(1000) as url:
        streams = await at_once(url, 5, "mp3")
    assert [stream.in_time for stream in streams] == [True] * 5


async def test_the_delay_of_a_chunk_is_from_its_making_to_its_last_byte() -> None:
    async def speak(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        encoder = Encoder("pcm")
        for _ in range(6):
            data = encoder.encode(stamped(SOUND), SAMPLE_RATE)
            await answer.write(data[:1000])
            await asyncio.sleep(0.03)
            await answer.write(data[1000:])
        return answer

    async with listening(speak) as url, client() as session:
        first_s, delays = await delays_of_chunks(session, url)
    assert first_s < 5
    assert len(delays) >= 4  # the first chunk's is the request's as well
    assert all(0.03 <= delay < 5 for delay in delays)


async def test_a_server_that_is_gone_has_no_stream_in_time() -> None:
    async with sounding() as url:
        pass
    async with client() as session:
        stream = Stream(0.0)
        await listen(session, url, stream, "mp3")
    assert not stream.in_time


async def test_the_paced_engine_speaks_for_as_long_as_the_text_would_take() -> None:
    text = "A text that takes about three seconds to say."
    request = SpeechRequest(text, Voice("tone", preset="tone"), "en")
    chunks = [chunk async for chunk in PacedEngine(0.0).stream(request)]
    assert len(chunks) == chunks_of(text) > 4
    assert {chunk.seconds for chunk in chunks} == {CHUNK_S}
