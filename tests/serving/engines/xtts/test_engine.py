import asyncio
import contextlib
import functools
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from serving.engines.base import Pcm, Sampling, SpeechChunk, SpeechRequest, Voice
from serving.engines.xtts import XttsEngine, XttsOptions
from serving.engines.xtts.engine import _hear
from serving.engines.xtts.frames import FrameGrid
from serving.engines.xtts.sentence import Request
from serving.errors import (
    ConfigurationError,
    EngineError,
    InvalidRequest,
    ModelFilesError,
    NotFound,
    Overloaded,
    Unavailable,
)
from tests.factories.xtts import VOCODER_WIDTH, Size, cached_checkpoint

ADA = Voice("ada", preset="Ada")
GREEDY = Sampling(top_k=1)
SENTENCE = "The quick brown fox jumps over it."
LONG = f"{SENTENCE} Then it sleeps for a while. " * 2


def request(text: str = SENTENCE, **fields: Any) -> SpeechRequest:
    return SpeechRequest(**{"text": text, "voice": ADA, "language": "en", "seed": 1, **fields})


async def speak(engine: XttsEngine, asked: SpeechRequest) -> list[SpeechChunk]:
    return [chunk async for chunk in engine.stream(asked)]


async def audio(engine: XttsEngine, asked: SpeechRequest) -> Pcm:
    return np.concatenate([chunk.pcm for chunk in await speak(engine, asked)])


def stock(directory: Path, size: Size) -> Any:
    """coqui's own model loaded by coqui's own loader, which may write to ``directory``."""
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
    from TTS.tts.models import xtts

    config = XttsConfig()
    config.load_json(str(directory / "config.json"))
    with pytest.MonkeyPatch.context() as patch:
        decoder = functools.partial(HifiDecoder, upsample_initial_channel_decoder=VOCODER_WIDTH[size])
        patch.setattr(xtts, "HifiDecoder", decoder)
        model = xtts.Xtts(config)
        model.load_checkpoint(config, checkpoint_dir=str(directory), eval=True)
    return model


def stock_audio(model: Any, asked: SpeechRequest) -> Pcm:
    """coqui's ``inference``, greedy, with what config.json says of the rest."""
    latent, embedding = model.speaker_manager.speakers[asked.voice.preset].values()
    audio: Pcm = model.inference(
        asked.text,
        asked.language,
        latent,
        embedding,
        do_sample=False,
        repetition_penalty=asked.sampling.repetition_penalty or model.config.repetition_penalty,
        speed=asked.speed,
    )["wav"]
    return audio


def difference(ours: Pcm, theirs: Pcm) -> float:
    """The largest, relative to the loudest sample."""
    assert len(ours) == len(theirs)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.fixture(scope="module")
def coqui(tmp_path_factory: pytest.TempPathFactory) -> Any:
    copy = tmp_path_factory.mktemp("stock") / "copy"
    shutil.copytree(cached_checkpoint(), copy)
    return stock(copy, "tiny")


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.3, 2.0])
async def test_streamed_audio_is_what_coqui_makes_in_one_go(engine: XttsEngine, coqui: Any, speed: float) -> None:
    german = {"language": "de", "voice": Voice("carl", preset="Carl"), "text": "Wir reden hier zusammen."}
    changes: list[dict[str, Any]] = [{}, german]
    for change in changes:
        asked = request(sampling=GREEDY, speed=speed, **change)
        chunks = await speak(engine, asked)
        assert len(chunks) > 1
        assert chunks[-1].finish_reason == "stop"
        assert difference(np.concatenate([chunk.pcm for chunk in chunks]), stock_audio(coqui, asked)) <= 1e-5


async def test_another_penalty_makes_other_audio_in_both(engine: XttsEngine, coqui: Any) -> None:
    usual = request(sampling=GREEDY)
    asked = request(sampling=Sampling(top_k=1, repetition_penalty=1.2))
    ours = await audio(engine, asked)
    assert difference(ours, stock_audio(coqui, asked)) <= 1e-5
    assert not np.array_equal(ours[:40_000], (await audio(engine, usual))[:40_000])


async def test_eight_requests_that_come_and_go_sound_as_each_alone(engine: XttsEngine) -> None:
    mixed = [
        request(
            SENTENCE if index % 2 else f"Number {index} says a little more than that.",
            seed=index,
            voice=Voice("v", preset=("Ada", "Berta", "Carl")[index % 3]),
            language=("en", "de", "fr", "es")[index % 4],
            speed=(1.0, 1.4)[index % 2],
            sampling=(Sampling(), GREEDY, Sampling(temperature=1.3, top_k=300, top_p=1.0))[index % 3],
        )
        for index in range(8)
    ]
    alone = [await audio(engine, asked) for asked in mixed]

    async def later(index: int, asked: SpeechRequest) -> Pcm:
        await asyncio.sleep(0.03 * index)  # they join between steps of the others
        return await audio(engine, asked)

    together = await asyncio.gather(*(later(index, asked) for index, asked in enumerate(mixed)))
    assert max(map(difference, together, alone)) <= 1e-5


async def test_speech_without_end_is_cut_where_coqui_cuts_it_and_says_so(tmp_path: Path) -> None:
    weights = tmp_path / "endless" / "model.pth"
    shutil.copytree(cached_checkpoint(), weights.parent)
    state = torch.load(weights, weights_only=True)
    state["model"]["gpt.mel_head.bias"][1025] = -1e4
    torch.save(state, weights)
    asked = request(SENTENCE * 2, sampling=GREEDY)  # long enough for 602 tokens not to be taken for a runaway
    engine = XttsEngine.load(weights.parent, model="endless", revision="r1", device="cpu")
    try:
        chunks = await speak(engine, asked)
        short = await speak(engine, request("It goes on.", sampling=GREEDY))
    finally:
        await engine.close()
    assert sum(chunk.output_tokens for chunk in chunks) == 602
    assert chunks[-1].finish_reason == "length"
    expected = stock_audio(stock(weights.parent, "tiny"), asked)
    assert difference(np.concatenate([chunk.pcm for chunk in chunks]), expected) <= 1e-5
    assert short[-1].finish_reason == "length"
    assert sum(chunk.seconds for chunk in short) == pytest.approx(4 + 0.5 * len("It goes on."), rel=0.02)


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


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that the engine's thread does."""
    while not condition():  # noqa: ASYNC110 it tells nobody
        await asyncio.sleep(0.01)


async def idle(engine: XttsEngine) -> None:
    """Wait until the engine has forgotten what has ended."""
    await until(lambda: not engine._scheduler.requests)


@pytest.mark.parametrize(
    ("change", "error", "param"),
    [
        ({"language": "xx"}, InvalidRequest, "language"),
        ({"text": " "}, InvalidRequest, "input"),
        ({"text": "14 बैटरी", "language": "hi"}, InvalidRequest, "input"),
        ({"text": "Bylo 12.", "language": "cs"}, InvalidRequest, "input"),
        ({"voice": Voice("v", preset="Nobody")}, NotFound, "voice"),
        ({"voice": Voice("v")}, InvalidRequest, "voice"),
        ({"speed": 0.0}, InvalidRequest, "speed"),
        ({"sampling": Sampling(top_k=-5)}, InvalidRequest, "top_k"),
    ],
)
async def test_bad_requests_name_their_field_and_spare_the_next_one(
    engine: XttsEngine, change: dict[str, Any], error: type[Exception], param: str
) -> None:
    with pytest.raises(error) as caught:
        await speak(engine, request(**change))
    assert getattr(caught.value, "param", None) == param
    assert await speak(engine, request())


async def test_a_failing_model_is_an_engine_error_and_spares_the_next_request(
    engine: XttsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(engine._decoder, "prefill", broken)
        with pytest.raises(EngineError, match="XTTS failed"):
            await speak(engine, request())
    assert await speak(engine, request())


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


async def test_check_passes_idle_and_busy_and_fails_once_closed() -> None:
    engine = XttsEngine.load(cached_checkpoint(), model="tiny", revision="r1", device="cpu")
    await engine.check()
    async with contextlib.aclosing(engine.stream(request(LONG))) as stream:
        await anext(stream)
        await engine.check()
    await engine.close()
    await engine.close()
    with pytest.raises(Unavailable, match="closed"):
        await engine.check()
    with pytest.raises(Unavailable, match="closed"):
        await speak(engine, request())


@pytest.mark.parametrize("left", [False, True])
async def test_a_long_preparation_is_work_and_no_fault_of_the_device(
    engine: XttsEngine, monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    entered, released = threading.Event(), threading.Event()

    def slow(_: Voice) -> None:
        entered.set()
        assert released.wait(60)

    await idle(engine)
    monkeypatch.setattr("serving.engines.xtts.engine.PROBE_S", 0.2)
    monkeypatch.setattr(engine._conditioner, "latents", slow)
    preparing = asyncio.create_task(engine.prepare(ADA))
    assert await asyncio.to_thread(entered.wait, 60)
    if left:  # whoever asked for it
        preparing.cancel()
        await asyncio.wait([preparing])
    await engine.check()
    with monkeypatch.context() as patch:
        patch.setattr("serving.engines.xtts.engine.STALLED_S", 0.0)
        with pytest.raises(Unavailable, match="no progress"):
            await engine.check()
    released.set()
    await asyncio.wait([preparing])
    await until(lambda: not engine._preparing)
    await engine.check()


async def test_check_fails_when_the_device_fails(engine: XttsEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    await idle(engine)
    with monkeypatch.context() as patch:
        patch.setattr(engine._decoder, "computes", broken)
        with pytest.raises(Unavailable, match="does not compute"):
            await engine.check()
        patch.setattr(engine._decoder, "computes", lambda: False)
        with pytest.raises(Unavailable, match="not finite"):
            await engine.check()
    await engine.check()


def test_load_refuses_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError):
        XttsEngine.load(cached_checkpoint(), model="tiny", revision="r1", device="cuda")
    with pytest.raises(ModelFilesError, match=r"config\.json is missing"):
        XttsEngine.load(tmp_path, model="tiny", revision="r1", device="cpu")


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_the_full_size_model_speaks_as_coqui_s_own(tmp_path: Path) -> None:
    shutil.copytree(cached_checkpoint("full"), tmp_path / "copy")
    asked = [request(sampling=GREEDY), request("Something else is said here.", sampling=GREEDY)]
    engine = XttsEngine.load(tmp_path / "copy", model="full", revision="r1", device="cpu")
    ours = await asyncio.gather(*(audio(engine, one) for one in asked))
    await engine.close()
    del engine
    model = stock(tmp_path / "copy", "full")
    assert max(difference(pcm, stock_audio(model, one)) for pcm, one in zip(ours, asked, strict=True)) <= 1e-5
