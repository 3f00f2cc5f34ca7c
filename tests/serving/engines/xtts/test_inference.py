"""The engine's audio is what coqui's own ``Xtts.inference`` makes."""

import asyncio
import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from serving.engines.base import Pcm, Sampling, SpeechRequest, Voice
from serving.engines.xtts import XttsEngine
from tests.factories.xtts import VOCODER_WIDTH, Size, cached_checkpoint
from tests.serving.engines.xtts.asking import GREEDY, SENTENCE, audio, difference, request, speak


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
