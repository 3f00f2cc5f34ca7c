"""A recording that is converted while it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np
import pytest

from serving.audio.pcm import Pcm
from serving.engines.base import SpeechChunk
from serving.engines.conversion import ConversionOptions, ConversionVoice, ConversionVoiceFacts, VoiceConverter
from serving.engines.rvc.stream import AHEAD, convert_stream
from serving.engines.rvc.windows import CONTEXT, HOP, Window
from serving.errors import EngineError

VOICE = ConversionVoice("v", Path(), 40000)
PLAIN = ConversionOptions(rms_mix_rate=1.0)


class Echo(VoiceConverter):
    """Says the window again at the voice's rate, by repetition of samples; later windows take less time."""

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.running = self.most = self.cancelled = 0
        self.broken_at: int | None = None

    async def convert(self, window: Window, voice: ConversionVoice, options: ConversionOptions, seed: int) -> Pcm:
        self.running += 1
        self.most = max(self.most, self.running)
        self.seeds.append(seed)
        try:
            await asyncio.sleep(0.02 / (window.index + 1))
            if window.index == self.broken_at:
                raise EngineError("broken")
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        core = window.pcm[CONTEXT * HOP : (CONTEXT + window.frames) * HOP]
        factor = voice.sample_rate / 16000
        result: Pcm = core[(np.arange(window.frames * voice.sample_rate // 100) / factor).astype(int)]
        return result

    async def ingest(self, weights: Path, index: Path | None, directory: Path) -> ConversionVoiceFacts:
        raise NotImplementedError

    async def check(self) -> None:
        return


async def pieces(pcm: Pcm, rate: int, size: int) -> AsyncGenerator[SpeechChunk, None]:
    for start in range(0, len(pcm), size):
        yield SpeechChunk(pcm[start : start + size], rate)


def sweep(seconds: float, rate: int) -> Pcm:
    time = np.arange(int(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * (80 + 20 * time) * time)).astype(np.float32)


async def converted(
    converter: Echo, pcm: Pcm, rate: int, size: int = 4800, options: ConversionOptions = PLAIN, seed: int = 7
) -> Pcm:
    chunks = [chunk async for chunk in convert_stream(converter, pieces(pcm, rate, size), VOICE, options, seed)]
    assert {chunk.sample_rate for chunk in chunks} == {40000}
    return np.concatenate([chunk.pcm for chunk in chunks])


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("seconds", [0.011, 0.5, 1.0, 3.3333, 9.0])
async def test_the_output_is_as_long_as_the_input_to_the_sample(rate: int, seconds: float) -> None:
    pcm = sweep(seconds, rate)
    for rms in (0.25, 1.0):
        result = await converted(Echo(), pcm, rate, options=ConversionOptions(rms_mix_rate=rms))
        assert len(result) == round(len(pcm) * 40000 / rate)


async def test_what_was_said_comes_out_in_order_and_in_time() -> None:
    pcm = sweep(9.0, 40000)
    result = await converted(Echo(), pcm, 40000)
    assert np.abs(result - pcm)[200:-200].max() < 0.1


@pytest.mark.parametrize("size", [37, 4801, 10**6])
async def test_the_size_of_the_pieces_changes_nothing(size: int) -> None:
    pcm, options = sweep(5.0, 24000), ConversionOptions(rms_mix_rate=0.3)
    whole = await converted(Echo(), pcm, 24000, options=options)
    assert np.allclose(await converted(Echo(), pcm, 24000, size, options), whole, atol=1e-6)


async def test_whoever_waits_for_the_whole_gets_the_same_from_fewer_windows() -> None:
    pcm, short, long = sweep(10.0, 16000), Echo(), Echo()
    streamed = await converted(short, pcm, 16000)
    stream = convert_stream(long, pieces(pcm, 16000, 4800), VOICE, PLAIN, 7, whole=True)
    assert np.array_equal(np.concatenate([chunk.pcm async for chunk in stream]), streamed)
    assert (len(long.seeds), len(short.seeds)) == (1, 4)


async def test_the_first_sound_comes_before_the_recording_ends() -> None:
    heard = asyncio.Event()

    async def endless() -> AsyncGenerator[SpeechChunk, None]:
        for _ in range(30):
            yield SpeechChunk(sweep(0.1, 24000), 24000)
            await asyncio.sleep(0)
        await asyncio.wait_for(heard.wait(), 10)

    async for chunk in convert_stream(Echo(), endless(), VOICE, PLAIN, 1):
        assert len(chunk.pcm)
        heard.set()


async def test_few_windows_are_under_way_and_each_has_a_seed_of_its_own() -> None:
    echo = Echo()
    await converted(echo, sweep(40.0, 16000), 16000)
    assert echo.most == AHEAD
    assert len(set(echo.seeds)) == len(echo.seeds) > 4
    again = Echo()
    await converted(again, sweep(40.0, 16000), 16000)
    assert again.seeds == echo.seeds


async def test_a_listener_that_leaves_stops_the_work() -> None:
    echo = Echo()
    stream = convert_stream(echo, pieces(sweep(40.0, 16000), 16000, 4800), VOICE, PLAIN, 1)
    await anext(stream)
    await stream.aclose()
    assert echo.running == 0
    assert len(echo.seeds) < 5


async def test_a_failure_ends_the_stream_with_its_error() -> None:
    echo = Echo()
    echo.broken_at = 2
    with pytest.raises(EngineError, match="broken"):
        await converted(echo, sweep(40.0, 16000), 16000)
    assert echo.running == 0


async def test_an_empty_recording_is_an_empty_result() -> None:
    assert [chunk async for chunk in convert_stream(Echo(), pieces(sweep(0, 16000), 16000, 10), VOICE, PLAIN, 1)] == []
