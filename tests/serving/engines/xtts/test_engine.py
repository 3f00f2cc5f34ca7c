import asyncio
import contextlib
import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from serving.engines.base import Pcm, Sampling, SpeechChunk, SpeechRequest, Voice
from serving.engines.xtts import XttsEngine
from serving.engines.xtts.engine import CHUNK_TOKENS
from serving.errors import ConfigurationError, EngineError, InvalidRequest, ModelFilesError, NotFound, Unavailable
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
    latent, embedding = model.speaker_manager.speakers[asked.voice.preset].values()
    config = model.config
    torch.manual_seed(asked.seed or 0)
    chunks = model.inference_stream(
        asked.text,
        asked.language,
        latent,
        embedding,
        stream_chunk_size=CHUNK_TOKENS,
        temperature=config.temperature,
        length_penalty=config.length_penalty,
        repetition_penalty=config.repetition_penalty,
        top_k=asked.sampling.top_k or config.top_k,
        top_p=config.top_p,
        speed=asked.speed,
    )
    return np.concatenate([chunk.cpu().numpy() for chunk in chunks])


async def test_the_audio_is_coqui_s_own_to_the_bit(engine: XttsEngine, tmp_path: Path) -> None:
    shutil.copytree(cached_checkpoint(), tmp_path / "copy")
    model = stock(tmp_path / "copy", "tiny")
    for asked in (request(sampling=GREEDY), request(seed=7), request(seed=7, speed=1.4, language="de")):
        expected = stock_audio(model, asked)
        assert len(expected) > 24000 / 4
        assert np.array_equal(await audio(engine, asked), expected)


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
    assert np.array_equal(await audio(engine, request(LONG)), first)
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


async def test_two_streams_at_a_time_are_each_as_alone(engine: XttsEngine) -> None:
    one, two = request(LONG, seed=1), request(LONG, seed=2, voice=Voice("c", preset="Carl"), language="fr")
    alone = [await audio(engine, one), await audio(engine, two)]
    together = await asyncio.gather(audio(engine, one), audio(engine, two))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


async def test_a_slow_listener_loses_nothing_and_holds_up_nobody(engine: XttsEngine) -> None:
    expected = await audio(engine, request(LONG))
    async with contextlib.aclosing(engine.stream(request(LONG))) as slow:
        heard = [(await anext(slow)).pcm]
        assert len(await audio(engine, request())) > 0
        assert engine.stats().active == 1
        heard += [chunk.pcm async for chunk in slow]
    assert np.array_equal(np.concatenate(heard), expected)


async def test_a_listener_that_leaves_frees_the_engine_within_a_chunk(engine: XttsEngine) -> None:
    expected = await audio(engine, request())
    async with contextlib.aclosing(engine.stream(request(LONG * 5))) as stream:
        await anext(stream)
    assert np.array_equal(await asyncio.wait_for(audio(engine, request()), 20), expected)
    assert engine.stats().active == engine.stats().queued == 0


@pytest.mark.parametrize(
    ("change", "error", "param"),
    [
        ({"language": "xx"}, InvalidRequest, "language"),
        ({"text": " "}, InvalidRequest, "input"),
        ({"text": "14 बैटरी", "language": "hi"}, InvalidRequest, "input"),
        ({"text": "Bylo 12.", "language": "cs"}, InvalidRequest, "input"),
        ({"voice": Voice("v", preset="Nobody")}, NotFound, "voice"),
        ({"voice": Voice("v")}, InvalidRequest, "voice"),
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
        patch.setattr(engine._loaded.model.gpt, "get_generator", broken)
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


async def test_check_fails_when_the_device_fails(engine: XttsEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    with monkeypatch.context() as patch:
        patch.setattr(engine._loaded.model.gpt.final_norm, "forward", broken)
        with pytest.raises(Unavailable, match="does not compute"):
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
    asked = request(sampling=GREEDY)
    engine = XttsEngine.load(tmp_path / "copy", model="full", revision="r1", device="cpu")
    ours = await audio(engine, asked)
    await engine.close()
    del engine
    assert np.array_equal(ours, stock_audio(stock(tmp_path / "copy", "full"), asked))
