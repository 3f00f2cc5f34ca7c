"""What is converted leaves nothing behind, however many voices it is converted into."""

from __future__ import annotations

import asyncio
import gc
import itertools
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from serving.engines.base import SpeechChunk
from serving.engines.conversion import ConversionOptions, ConversionVoice
from serving.engines.rvc.engine import RvcConverter, RvcOptions
from serving.engines.rvc.shared import CONTENT_DIRECTORY, RMVPE_FILE
from serving.engines.rvc.stream import convert_stream
from serving.engines.rvc.voices import LoadedVoice
from tests.factories.hubert import cached_content_encoder
from tests.factories.rmvpe import cached_rmvpe
from tests.serving.engines.rvc.voices_on_disk import make_ingested

VOICES, BUDGET = 50, 5
AT_A_TIME = 4
SECONDS = 0.2
WARM = 60
"""Every voice once, and all lengths, for each of which oneDNN keeps what it compiled."""


@pytest.fixture
def voices(tmp_path: Path) -> list[ConversionVoice]:
    """Fifty, each with files of its own; all sound alike."""
    first = make_ingested(tmp_path / "0")
    for number in range(1, VOICES):
        shutil.copytree(first.directory, tmp_path / str(number) / "voice")
    return [ConversionVoice(str(at), tmp_path / str(at) / "voice", first.sample_rate) for at in range(VOICES)]


@pytest.fixture
def converter(tmp_path: Path, voices: list[ConversionVoice]) -> RvcConverter:
    """With memory for five of them."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / CONTENT_DIRECTORY).symlink_to(cached_content_encoder())
    (shared / RMVPE_FILE).symlink_to(cached_rmvpe())
    size = LoadedVoice.load(voices[0].directory, torch.device("cpu"), "float32").nbytes
    return RvcConverter.load(shared, device="cpu", options=RvcOptions(voice_bytes=BUDGET * size))


async def convert_many(converter: RvcConverter, voices: list[ConversionVoice], count: int) -> int:
    """Convert ``count`` recordings, each into the next voice, some with other options; every seventh is left early.

    Returns the samples that came out. No voice is in memory when its turn comes, and never more than the budget holds.
    """
    numbers = itertools.count()
    samples = 0

    async def listener() -> None:
        nonlocal samples
        while (number := next(numbers)) < count:
            options = ConversionOptions(pitch=float(number % 3), index_rate=number % 2, formant=float(number % 5 == 0))
            stream = convert_stream(converter, _recording(number), voices[number % VOICES], options, seed=number)
            async for chunk in stream:
                samples += len(chunk.pcm)
                if number % 7 == 0:
                    break
            await stream.aclose()
            assert converter.stats().slots_used <= BUDGET

    await asyncio.gather(*(listener() for _ in range(AT_A_TIME)))
    return samples


async def _recording(seed: int) -> AsyncGenerator[SpeechChunk, None]:
    chance = np.random.default_rng(seed)
    for _ in range(2):
        yield SpeechChunk(chance.normal(0, 0.1, int(SECONDS * 8000)).astype(np.float32), 16000)


def memory() -> tuple[int, int]:
    """Bytes of this process that no file backs, and objects that Python's collector knows."""
    gc.collect()
    found = psutil.Process().memory_info()
    return int(found.rss - found.shared), len(gc.get_objects())


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
async def test_memory_is_flat_over_many_conversions_into_more_voices_than_fit(
    converter: RvcConverter, voices: list[ConversionVoice], count: int
) -> None:
    try:
        await convert_many(converter, voices, WARM)
        size, objects = memory()
        loads = converter._voices.loads
        samples = await convert_many(converter, voices, count)
        size_after, objects_after = memory()
        assert samples >= count * 6 / 7 * SECONDS * 40000 * 0.95
        assert converter._voices.loads - loads >= count * 0.9
        assert converter._voices.nbytes <= BUDGET * converter._voices.get(voices[0]).nbytes
        assert objects_after - objects < 250
        assert size_after - size < 32 * 2**20
        assert converter.stats().active == converter.stats().queued == 0
    finally:
        await converter.close()
