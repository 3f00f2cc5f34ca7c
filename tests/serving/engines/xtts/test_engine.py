import asyncio
import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.engines.base import Sampling, SpeechChunk, Voice
from serving.engines.xtts import XttsEngine, XttsOptions
from serving.engines.xtts.engine import _hear
from serving.engines.xtts.frames import FrameGrid
from serving.engines.xtts.sentence import Request
from serving.errors import (
    InvalidRequest,
    Overloaded,
)
from tests.factories.xtts import cached_checkpoint
from tests.serving.engines.xtts.asking import LONG, SENTENCE, audio, difference, idle, request, speak, until


async def test_all_at_once_is_the_same_as_streamed(engine: XttsEngine) -> None:
    whole = await engine.synthesize(request(LONG))
    assert whole.sample_rate == 24000
    assert difference(whole.pcm, await audio(engine, request(LONG))) <= 1e-5


async def test_the_engine_says_what_it_is(engine: XttsEngine) -> None:
    info = await engine.info()
    assert (info.name, info.model, info.revision, info.sample_rate) == ("xtts", "tiny", "r1", 24000)
    assert info.presets == ("Ada", "Berta", "Carl")
    assert {"en", "de", "ko", "hi"} <= set(info.languages)
    assert info.clones
    assert info.device == "cpu"


async def test_a_text_is_streamed_as_sound_with_its_tokens_counted(engine: XttsEngine) -> None:
    chunks = await speak(engine, request(LONG))
    assert len(chunks) > 6
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"] * 4
    assert all(chunk.pcm.dtype == np.float32 and chunk.pcm.ndim == 1 and len(chunk.pcm) for chunk in chunks)
    assert {chunk.sample_rate for chunk in chunks} == {24000}
    pcm = np.concatenate([chunk.pcm for chunk in chunks])
    assert 0.01 < pcm.std() < 0.5
    assert np.abs(pcm).max() <= 1.0
    seconds_by_tokens = sum(chunk.output_tokens for chunk in chunks) * 1024 / 22050
    assert len(pcm) / 24000 == pytest.approx(seconds_by_tokens, rel=0.02)
    assert sum(chunk.input_tokens for chunk in chunks) > len(LONG) / 6


async def test_a_seed_repeats_the_audio_whatever_was_spoken_before(engine: XttsEngine) -> None:
    first = await audio(engine, request(LONG))
    await audio(engine, request("Something else in between.", seed=5))
    torch.manual_seed(12345)
    assert difference(await audio(engine, request(LONG)), first) <= 1e-5
    assert not np.array_equal(await audio(engine, request(LONG, seed=2)), first)
    assert not np.array_equal(await audio(engine, request(seed=None)), await audio(engine, request(seed=None)))


async def test_speaking_leaves_the_random_numbers_of_the_process_alone(engine: XttsEngine) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    await audio(engine, request())
    assert torch.equal(torch.rand(4), expected)


async def test_voice_text_language_speed_and_sampling_change_the_audio(engine: XttsEngine) -> None:
    usual = await audio(engine, request())
    for change in (
        {"voice": Voice("b", preset="Berta")},
        {"text": "Another sentence is spoken here."},
        {"language": "de"},
        {"speed": 1.5},
        {"sampling": Sampling(temperature=5.0, top_k=500, top_p=1.0)},
        {"sampling": Sampling(repetition_penalty=1.0)},
    ):
        other = await audio(engine, request(**change))
        assert len(other) != len(usual) or np.abs(other - usual).max() > 1e-3
    assert len(await audio(engine, request(speed=2.0))) == pytest.approx(len(usual) / 2, rel=0.1)


async def test_a_slow_listener_loses_nothing_and_holds_up_nobody(engine: XttsEngine) -> None:
    expected = await audio(engine, request(LONG))
    async with contextlib.aclosing(engine.stream(request(LONG))) as slow:
        heard = [(await anext(slow)).pcm]
        assert len(await audio(engine, request())) > 0
        heard += [chunk.pcm async for chunk in slow]
    assert difference(np.concatenate(heard), expected) <= 1e-5


async def test_audio_that_nobody_takes_is_not_made_without_bound(
    engine: XttsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("scheduler", "engine"):
        monkeypatch.setattr(f"serving.engines.xtts.{module}.UNHEARD_S", 4.0)
    asked = request(LONG * 3)
    expected = await audio(engine, asked)
    async with contextlib.aclosing(engine.stream(asked)) as slow:
        heard = [(await anext(slow)).pcm]
        await until(lambda: not engine.stats().slots_used)  # what has begun is decoded to its end
        (work,) = engine._scheduler.requests
        assert 4.0 <= work.delivered_s < len(expected) / 24000 / 2
        heard += [chunk.pcm async for chunk in slow]
    assert difference(np.concatenate(heard), expected) <= 1e-5


def test_a_listener_whose_event_loop_is_gone_has_left(engine: XttsEngine) -> None:
    loop = asyncio.new_event_loop()
    stream = engine.stream(request(LONG * 5))
    loop.run_until_complete(anext(stream))
    loop.close()
    asyncio.run(idle(engine))


class DeliveredAsItIsHeard(Request):
    """Another second comes at the worst moment: while a chunk is being taken."""

    @property
    def heard_s(self) -> float:
        return self._heard_s

    @heard_s.setter
    def heard_s(self, value: float) -> None:
        self.delivered_s += 1.0
        self._heard_s = value


def test_what_comes_while_a_chunk_is_taken_is_seen_as_the_worker_saw_it() -> None:
    work = DeliveredAsItIsHeard(request(), "en", 1, FrameGrid(()), lambda _: None)
    work.delivered_s = 59.5
    assert _hear(work, SpeechChunk(np.zeros(24000, np.float32), 24000)) == 60.5


async def test_speech_too_short_and_too_fast_for_a_frame_is_empty_audio(engine: XttsEngine) -> None:
    spoken = await engine.synthesize(request(speed=1000.0))
    assert spoken.pcm.dtype == np.float32
    assert not len(spoken.pcm)


async def test_a_listener_that_leaves_frees_its_slots(engine: XttsEngine) -> None:
    expected = await audio(engine, request())
    async with contextlib.aclosing(engine.stream(request(LONG * 5))) as stream:
        await anext(stream)
        assert engine.stats().slots_used > 1
    assert difference(await asyncio.wait_for(audio(engine, request()), 20), expected) <= 1e-5
    await idle(engine)
    assert engine.stats().active == engine.stats().queued == engine.stats().slots_used == 0


async def test_more_sentences_than_slots_take_turns(engine: XttsEngine) -> None:
    asked = [request(f"{SENTENCE} Number {index}.", seed=index) for index in range(3 * engine.stats().slots)]
    spoken = await asyncio.gather(*(audio(engine, one) for one in asked))
    assert difference(spoken[-1], await audio(engine, asked[-1])) <= 1e-5


async def test_a_full_queue_refuses_what_is_new_and_not_what_has_begun() -> None:
    engine = XttsEngine.load(
        cached_checkpoint(), model="tiny", revision="r1", device="cpu", options=XttsOptions(slots=1, queue=1)
    )
    try:
        async with contextlib.aclosing(engine.stream(request(LONG))) as speaking:
            await anext(speaking)
            waiting = asyncio.create_task(audio(engine, request()))
            await until(lambda: engine.stats().queued == 1)
            with pytest.raises(Overloaded, match="1 requests wait"):
                await audio(engine, request())
            begun = asyncio.create_task(audio(engine, request(heard_in_s=0.0)))
            assert [chunk async for chunk in speaking]
        assert difference(await waiting, await begun) <= 1e-5
    finally:
        await engine.close()


async def test_two_engines_share_nothing(engine: XttsEngine) -> None:
    other = XttsEngine.load(cached_checkpoint(), model="other", revision="r2", device="cpu")
    asked = request(LONG)
    expected = await audio(engine, asked)
    together = await asyncio.gather(*(audio(one, asked) for one in (engine, other, engine, other)))
    assert max(difference(pcm, expected) for pcm in together) <= 1e-5
    await other.close()
    assert difference(await audio(engine, asked), expected) <= 1e-5


async def test_the_numbers_of_an_engine_tell_its_work(engine: XttsEngine) -> None:
    await audio(engine, request(LONG))
    await idle(engine)
    stats = engine.stats()
    assert stats.slots == 8
    assert stats.tokens_per_s > 0
    assert stats.audio_s_per_s > 0
    assert 0 < stats.first_audio_s < 60
    assert stats.real_time_factor > 0


async def test_a_cloned_voice_speaks_after_prepare(engine: XttsEngine, tmp_path: Path) -> None:
    from serving.audio.wav import wav_bytes

    tone = 0.3 * np.sin(np.arange(22050) * 0.06) + np.random.default_rng(0).normal(0, 0.02, 22050)
    (tmp_path / "a.wav").write_bytes(wav_bytes(tone.astype(np.float32), 22050))
    voice = Voice("mine", references=(tmp_path / "a.wav",), conditioning=tmp_path / "conditioning")
    await engine.prepare(voice)
    assert (tmp_path / "conditioning" / "tiny@r1.safetensors").exists()
    assert not np.array_equal(
        (await audio(engine, request(voice=voice)))[:20000], (await audio(engine, request()))[:20000]
    )
    (tmp_path / "a.wav").write_bytes(wav_bytes(np.zeros(22050, np.float32), 22050))
    with pytest.raises(InvalidRequest) as caught:
        await engine.prepare(voice)
    assert caught.value.param == "audio_sample"
