"""What is spoken leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from serving.engines.base import SpeechRequest, Voice
from serving.engines.xtts import XttsEngine
from tests.factories.xtts import cached_checkpoint

AT_A_TIME = 16


@pytest.fixture
def brief(tmp_path: Path) -> Iterator[XttsEngine]:
    """An engine whose sentences end after a token or few."""
    weights = tmp_path / "brief" / "model.pth"
    shutil.copytree(cached_checkpoint(), weights.parent)
    state = torch.load(weights, weights_only=True)
    state["model"]["gpt.mel_head.bias"][1025] = 5.0
    torch.save(state, weights)
    engine = XttsEngine.load(weights.parent, model="brief", revision="r1", device="cpu")
    yield engine
    asyncio.run(engine.close())


async def speak_many(engine: XttsEngine, count: int) -> float:
    """Speak ``count`` requests, a few of which are left after their first chunk; returns the seconds of audio."""
    numbers = itertools.count()
    seconds = 0.0

    async def listener() -> None:
        nonlocal seconds
        while (number := next(numbers)) < count:
            stream = engine.stream(SpeechRequest(f"Request {number}.", Voice("a", preset="Ada"), "en", seed=number))
            async for chunk in stream:
                seconds += chunk.seconds
                if number % 7 == 0:
                    break
            await stream.aclose()

    await asyncio.gather(*(listener() for _ in range(AT_A_TIME)))
    return seconds


def memory() -> tuple[int, int]:
    """Bytes of this process, and objects that Python's collector knows."""
    gc.collect()
    return int(psutil.Process().memory_info().rss), len(gc.get_objects())


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_memory_is_flat_over_many_requests(brief: XttsEngine, count: int) -> None:
    asyncio.run(speak_many(brief, 300))  # rows are touched, and oneDNN compiles a program for every new shape
    size, objects = memory()
    assert asyncio.run(speak_many(brief, count)) > count * 0.05
    size_after, objects_after = memory()
    assert objects_after - objects < 250  # not one a request
    assert size_after - size < 32 * 2**20  # measured: 18 MB over the first 7,000 requests, then nothing
    assert not brief._scheduler.requests
    assert not brief._scheduler.active
