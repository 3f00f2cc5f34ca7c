"""The espeak engine behind the common interface."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest

from serving.engines.base import Pcm, SpeechChunk, SpeechRequest, Voice
from serving.engines.espeak import EspeakEngine
from serving.engines.espeak.worker import EspeakProcess
from serving.errors import InvalidRequest, Unavailable
from tests.audio_measure import is_silent, peak, rms

TEXT = "The quick brown fox jumps over the lazy dog."


@pytest.fixture
async def engine() -> AsyncIterator[EspeakEngine]:
    engine = EspeakEngine()
    yield engine
    await engine.close()


def request(text: str = TEXT, preset: str = "f1", language: str = "en", speed: float = 1.0) -> SpeechRequest:
    return SpeechRequest(text, Voice(preset, preset=preset), language, speed)


async def chunks(engine: EspeakEngine, request: SpeechRequest) -> list[SpeechChunk]:
    return [chunk async for chunk in engine.stream(request)]


async def speak(engine: EspeakEngine, request: SpeechRequest) -> Pcm:
    return np.concatenate([np.zeros(0, np.float32), *(chunk.pcm for chunk in await chunks(engine, request))])


async def test_speech_is_audible_unclipped_and_as_long_as_its_words(engine: EspeakEngine) -> None:
    pcm = await speak(engine, request())

    assert pcm.dtype == np.float32
    assert 2.0 < len(pcm) / 22050 < 4.5  # nine words at about 175 words a minute
    assert 0.01 < rms(pcm) < 0.5
    assert peak(pcm) < 1.0


async def test_the_same_text_sounds_the_same_after_others(engine: EspeakEngine) -> None:
    first = await speak(engine, request())
    other = await speak(engine, request("Something else entirely."))

    assert np.array_equal(first, await speak(engine, request()))
    assert not np.array_equal(first, other)


async def test_chunks_are_at_most_a_second_and_count_every_character(engine: EspeakEngine) -> None:
    made = await chunks(engine, request(f"{TEXT} {TEXT}"))

    assert len(made) > 4
    assert all(chunk.sample_rate == 22050 and 0 < chunk.seconds <= 1.0 for chunk in made)
    assert sum(chunk.input_tokens for chunk in made) == 2 * len(TEXT)
    assert sum(chunk.output_tokens for chunk in made) == pytest.approx(
        sum(chunk.seconds for chunk in made) * 22050 / 1024, abs=len(made)
    )


@pytest.mark.parametrize("speed", [0.3, 3.0])
async def test_the_characters_of_a_word_are_counted_where_the_stretcher_holds_it_back(
    engine: EspeakEngine, speed: float
) -> None:
    made = await chunks(engine, dataclasses.replace(request("Hi."), speed=speed))
    assert sum(chunk.input_tokens for chunk in made) == 3


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
async def test_speed_divides_the_duration_also_where_espeaks_own_rates_end(engine: EspeakEngine, speed: float) -> None:
    normal = len(await speak(engine, request()))
    pcm = await speak(engine, request(speed=speed))

    assert len(pcm) == pytest.approx(normal / speed, rel=0.25)
    assert rms(pcm) > 0.01


async def test_every_language_and_every_preset_speaks(engine: EspeakEngine) -> None:
    info = await engine.info()

    for language in info.languages:
        assert not is_silent(await speak(engine, request("one 2 three", language=language))), language
    spoken = {preset: (await speak(engine, request("Hello.", preset))).tobytes() for preset in info.presets}
    assert len(set(spoken.values())) == len(info.presets)
    assert {"f1", "m1"} <= set(info.presets)


@pytest.mark.parametrize(
    "code", ["en", "EN", "en-US", "en-us", "en-GB", "en-xx", "fr", "fr-FR", "zh", "zh-cn", "de-AT"]
)
async def test_the_codes_that_clients_send_are_understood(engine: EspeakEngine, code: str) -> None:
    assert not is_silent(await speak(engine, request("hello 123", language=code)))


@pytest.mark.parametrize("code", ["", "klingon", "xx", "en\0", "../en", "fo"])
async def test_an_unknown_language_is_refused_by_name(engine: EspeakEngine, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await speak(engine, request(language=code))

    assert caught.value.param == "language"


@pytest.mark.parametrize("text", ["...", "\0", "\u200b", "—", "\n\n", "( )"])
async def test_a_text_with_nothing_to_say_ends_without_a_chunk(engine: EspeakEngine, text: str) -> None:
    assert await chunks(engine, request(text)) == []


async def test_a_lone_surrogate_is_spoken_around(engine: EspeakEngine) -> None:
    assert not is_silent(await speak(engine, request("one \ud800 two")))


async def test_an_unknown_preset_is_the_first_one(engine: EspeakEngine) -> None:
    assert np.array_equal(await speak(engine, request(preset="nobody")), await speak(engine, request(preset="f1")))


async def test_the_first_chunk_of_a_long_text_comes_before_the_next_sentence_is_made(
    engine: EspeakEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    synthesise = EspeakProcess.synthesise

    def counted(process: EspeakProcess, text: str, voice: str, variant: str, rate: int) -> Pcm:
        made.append(text)
        return synthesise(process, text, voice, variant, rate)

    monkeypatch.setattr(EspeakProcess, "synthesise", counted)
    stream = engine.stream(request(f"{TEXT} " * 80))
    await anext(stream)
    assert len(made) == 1

    async for _ in stream:
        pass
    assert len(made) >= 80 * len(TEXT) // 400


async def test_the_event_loop_is_free_while_it_speaks(engine: EspeakEngine) -> None:
    await engine.check()
    on_the_loop, wall = time.thread_time(), time.perf_counter()
    await speak(engine, request(f"{TEXT} " * 40, speed=0.25))

    assert time.thread_time() - on_the_loop < 0.15 * (time.perf_counter() - wall)


async def test_stats_count_streams_while_they_last_and_closing_one_ends_it(engine: EspeakEngine) -> None:
    stream = engine.stream(request(f"{TEXT} " * 10))
    await anext(stream)
    assert engine.stats().active == 1

    await stream.aclose()
    stats = engine.stats()
    assert (stats.active, stats.queued, stats.queue_age_s) == (0, 0, 0.0)


async def test_streams_at_once_take_turns_and_do_not_mix(engine: EspeakEngine) -> None:
    requests = [request(f"Sentence number {number}.", f"m{number + 1}") for number in range(6)]
    together = await asyncio.gather(*(speak(engine, each) for each in requests))

    for each, pcm in zip(requests, together, strict=True):
        assert np.array_equal(pcm, await speak(engine, each))


async def test_a_closed_engine_is_unavailable() -> None:
    engine = EspeakEngine()
    await engine.check()
    await engine.close()

    with pytest.raises(Unavailable):
        await engine.check()
    assert engine.stats().queued == 0
