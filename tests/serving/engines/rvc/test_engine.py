"""The converter as its callers use it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.audio.pcm import Pcm
from serving.engines.base import SpeechChunk
from serving.engines.conversion import ConversionOptions, ConversionVoice
from serving.engines.rvc.engine import RvcConverter, RvcOptions
from serving.engines.rvc.shared import CONTENT_DIRECTORY, RMVPE_FILE
from serving.engines.rvc.stream import convert_stream
from serving.errors import EngineError, InvalidRequest, ModelFilesError, Unavailable
from tests.factories.hubert import cached_content_encoder
from tests.factories.rmvpe import cached_rmvpe
from tests.serving.engines.rvc.voices_on_disk import make_ingested

BOTH = ConversionOptions(rms_mix_rate=1.0)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    (folder / CONTENT_DIRECTORY).symlink_to(cached_content_encoder())
    return folder


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> list[ConversionVoice]:
    folder = tmp_path_factory.mktemp("voices")
    return [make_ingested(folder / str(seed), seed=seed) for seed in range(3)]


@pytest.fixture
async def converter(shared: Path) -> AsyncIterator[RvcConverter]:
    converter = RvcConverter.load(shared, device="cpu")
    yield converter
    await converter.close()


def speech(seconds: float = 3.0, seed: int = 0) -> Pcm:
    """A hum with vibrato and pauses, in noise."""
    time = np.arange(int(seconds * 24000)) / 24000
    hum = np.sin(2 * np.pi * 150 * time + 3 * np.sin(2 * np.pi * 4 * time)) * (np.sin(2 * np.pi * 0.7 * time) > -0.5)
    pcm: Pcm = (0.3 * hum + np.random.default_rng(seed).normal(0, 0.01, len(time))).astype(np.float32)
    return pcm


async def pieces(pcm: Pcm, size: int = 4800) -> AsyncGenerator[SpeechChunk, None]:
    for start in range(0, len(pcm), size):
        yield SpeechChunk(pcm[start : start + size], 24000)


async def converted(
    converter: RvcConverter,
    voice: ConversionVoice,
    pcm: Pcm,
    options: ConversionOptions = BOTH,
    size: int = 4800,
    seed: int = 1,
) -> Pcm:
    stream = convert_stream(converter, pieces(pcm, size), voice, options, seed)
    return np.concatenate([chunk.pcm async for chunk in stream])


def difference(one: Pcm, other: Pcm) -> float:
    assert len(one) == len(other)
    return float(np.abs(one - other).max() / np.abs(other).max())


async def test_a_recording_is_converted_to_its_length_and_follows_voice_and_options(
    converter: RvcConverter, voices: list[ConversionVoice]
) -> None:
    pcm = speech()
    usual = await converted(converter, voices[0], pcm)
    assert len(usual) == round(len(pcm) * 40000 / 24000)
    assert usual.std() > 0.001
    assert np.abs(usual).max() <= 1.0
    assert difference(await converted(converter, voices[0], pcm), usual) == 0.0
    assert difference(await converted(converter, voices[1], pcm), usual) > 1e-2
    assert difference(await converted(converter, voices[0], pcm, ConversionOptions(pitch=7.0)), usual) > 1e-2


async def test_streamed_in_any_pieces_it_is_the_same(converter: RvcConverter, voices: list[ConversionVoice]) -> None:
    pcm, options = speech(4.0), ConversionOptions()
    whole = await converted(converter, voices[0], pcm, options, size=10**6)
    assert difference(await converted(converter, voices[0], pcm, options, size=777), whole) <= 1e-5


async def test_recordings_of_several_voices_at_a_time_are_each_as_alone(
    converter: RvcConverter, voices: list[ConversionVoice]
) -> None:
    recordings = [speech(2.0 + index / 3, index) for index in range(3)]
    alone = [await converted(converter, *pair) for pair in zip(voices, recordings, strict=True)]
    together = await asyncio.gather(
        *(converted(converter, *pair) for pair in zip(voices, recordings, strict=True)),
    )
    assert max(map(difference, together, alone)) <= 1e-5
    assert converter.stats().slots_used == 3


async def test_a_listener_that_leaves_stops_the_work(converter: RvcConverter, voices: list[ConversionVoice]) -> None:
    stream = convert_stream(converter, pieces(speech(40.0)), voices[0], BOTH, 1)
    await anext(stream)
    await stream.aclose()
    await asyncio.wait_for(converter.check(), 60)
    assert converter.stats().queued == 0


async def test_rmvpe_is_taken_where_its_weights_are(
    shared: Path, voices: list[ConversionVoice], tmp_path: Path
) -> None:
    both = tmp_path / "shared"
    both.mkdir()
    (both / CONTENT_DIRECTORY).symlink_to(cached_content_encoder())
    (both / RMVPE_FILE).symlink_to(cached_rmvpe())
    converter = RvcConverter.load(both, device="cpu")
    try:
        await converted(converter, voices[0], speech(0.5))
        assert list(converter._pitch) == ["rmvpe"]
        await converted(converter, voices[0], speech(0.5), ConversionOptions(f0_method="fcpe"))
        assert list(converter._pitch) == ["rmvpe", "fcpe"]
    finally:
        await converter.close()


async def test_what_is_not_on_the_volume_is_named_with_the_command_that_fetches_it(
    converter: RvcConverter, voices: list[ConversionVoice], tmp_path: Path
) -> None:
    with pytest.raises(ModelFilesError, match=r"rmvpe\.pt is missing.*kubevoice models pull"):
        await converted(converter, voices[0], speech(0.5), ConversionOptions(f0_method="rmvpe"))
    with pytest.raises(ModelFilesError, match=r"config\.json is missing.*kubevoice models pull"):
        RvcConverter.load(tmp_path, device="cpu")


async def test_a_bad_option_fails_its_request_and_no_other(
    converter: RvcConverter, voices: list[ConversionVoice]
) -> None:
    good, bad = await asyncio.gather(
        converted(converter, voices[0], speech(1.0)),
        converted(converter, voices[0], speech(1.0), ConversionOptions(speaker=7)),
        return_exceptions=True,
    )
    assert isinstance(good, np.ndarray)
    assert isinstance(bad, InvalidRequest)
    assert bad.param == "speaker"


async def test_a_failing_network_is_an_engine_error_and_spares_the_next(
    converter: RvcConverter, voices: list[ConversionVoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(converter._content, "features", lambda *_: 1 / 0)
        with pytest.raises(EngineError, match="the conversion failed"):
            await converted(converter, voices[0], speech(0.5))
    assert len(await converted(converter, voices[0], speech(0.5)))


async def test_check_uses_the_device_and_fails_once_closed(converter: RvcConverter, shared: Path) -> None:
    await converter.check()
    await converter.close()
    await converter.close()
    with pytest.raises(Unavailable, match="closed"):
        await converter.check()


async def test_check_fails_when_the_device_makes_nonsense(
    converter: RvcConverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter._content, "features", lambda *_: torch.full((1, 1, 768), torch.nan))
    with pytest.raises(Unavailable, match="not finite"):
        await converter.check()


async def test_a_deleted_voice_leaves_the_device(
    converter: RvcConverter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = make_ingested(tmp_path / "v")
    monkeypatch.setattr("serving.engines.rvc.engine.PAUSE_S", 0.0)
    await converted(converter, voice, speech(0.3))
    await converter.forget_deleted()
    assert converter.stats().slots_used == 1
    shutil.rmtree(voice.directory)
    await converter.forget_deleted()
    assert converter.stats().slots_used == 0
    with pytest.raises(ModelFilesError):
        await converted(converter, voice, speech(0.3))


async def test_memory_for_voices_is_bounded(shared: Path, voices: list[ConversionVoice]) -> None:
    converter = RvcConverter.load(shared, device="cpu", options=RvcOptions(voice_bytes=1))
    try:
        for voice in (*voices, *voices):
            await converted(converter, voice, speech(0.3))
        assert converter.stats().slots_used == 1
        assert converter._voices.loads == 6
    finally:
        await converter.close()
