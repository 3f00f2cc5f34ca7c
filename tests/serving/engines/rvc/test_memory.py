"""What is converted leaves nothing behind, however many voices it is converted into."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from serving.engines.base import SpeechChunk
from serving.engines.conversion import ConversionOptions, ConversionVoice
from serving.engines.memory import give_back
from serving.engines.rvc.engine import RvcConverter, RvcOptions
from serving.engines.rvc.shared import CONTENT_DIRECTORY, RMVPE_FILE
from serving.engines.rvc.stream import convert_stream
from serving.engines.rvc.voices import LoadedVoice
from tests.factories.hubert import cached_content_encoder
from tests.factories.rmvpe import cached_rmvpe
from tests.serving.engines.rvc.voices_on_disk import make_ingested

CPU = torch.device("cpu")
VOICES, BUDGET = 50, 5
AT_A_TIME = 4
SECONDS = 0.2
WARM = 60
"""Every voice once, and all options, for each of which oneDNN keeps what it compiled."""

MOST_MB = 16


def make_voices(directory: Path) -> list[ConversionVoice]:
    """Fifty, each with files of its own; all sound alike."""
    first = make_ingested(directory / "0")
    for number in range(1, VOICES):
        shutil.copytree(first.directory, directory / str(number) / "voice")
    return [ConversionVoice(str(at), directory / str(at) / "voice", first.sample_rate) for at in range(VOICES)]


def load(directory: Path, voice: ConversionVoice) -> RvcConverter:
    """With memory for five of them."""
    shared = directory / "shared"
    shared.mkdir()
    (shared / CONTENT_DIRECTORY).symlink_to(cached_content_encoder())
    (shared / RMVPE_FILE).symlink_to(cached_rmvpe())
    size = LoadedVoice.load(voice.directory, CPU, "float32").nbytes
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
    """Bytes of this process that no file backs and that are in use, and objects that Python's collector knows."""
    gc.collect()
    give_back()
    found = psutil.Process().memory_info()
    return int(found.rss - found.shared), len(gc.get_objects())


def conversions(directory: Path, count: int) -> dict[str, float]:
    """What ``count`` conversions leave behind in this process, after every voice has had its turn."""
    torch.set_num_threads(1)
    voices = make_voices(directory)
    converter = load(directory, voices[0])
    asyncio.run(convert_many(converter, voices, max(WARM, count // 4)))
    size, objects = memory()
    loads = converter._voices.loads
    samples = asyncio.run(convert_many(converter, voices, count))
    size_after, objects_after = memory()
    under_way = converter.stats()
    asyncio.run(converter.close())
    return {
        "mb": (size_after - size) / 2**20,
        "objects": objects_after - objects,
        "loads": converter._voices.loads - loads,
        "samples": samples,
        "left": under_way.active + under_way.queued,
    }


def readings(directory: Path, count: int) -> dict[str, float]:
    """What it leaves behind to read a voice ``count`` times."""
    voice = make_ingested(directory / "voice")
    for _ in range(50):
        LoadedVoice.load(voice.directory, CPU, "float32")
    before, _ = memory()
    for _ in range(count):
        LoadedVoice.load(voice.directory, CPU, "float32")
    return {"mb": (memory()[0] - before) / 2**20}


def apart(name: str, directory: Path, count: int) -> dict[str, float]:
    """What the function ``name`` finds in a process of its own, in which no other test has left anything."""
    code = f"from {__name__} import *; print(json.dumps({name}(Path({str(directory)!r}), {count})))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=1800)
    left: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return left


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_memory_is_flat_over_many_conversions_into_more_voices_than_fit(count: int, tmp_path: Path) -> None:
    left = apart("conversions", tmp_path, count)
    assert left["samples"] >= count * 6 / 7 * SECONDS * 40000 * 0.95
    assert left["loads"] >= count * 0.9
    assert left["objects"] < 50  # not one a conversion
    assert left["mb"] < MOST_MB
    assert not left["left"]


def test_a_voice_that_is_read_again_and_again_takes_no_more_memory(tmp_path: Path) -> None:
    assert apart("readings", tmp_path, 300)["mb"] < 3  # 24 kB each, as it was once, are 7
