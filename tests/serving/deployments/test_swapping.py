"""A model is exchanged while it speaks, with two real ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from serving.deployments import swapping
from serving.deployments.speech import FORGET_PERIOD_S
from serving.deployments.swapping import SwappingEngine
from serving.engines.base import Pcm, SpeechEngine
from serving.engines.xtts import XttsEngine
from serving.errors import NotFound, Unavailable
from tests.serving.deployments.revisions import LONG, NEW_PRESET, SHORT, checkpoint, heard, open_tiny, request

TOLERANCE = 1e-4
"""What else is decoded at the same time changes the sizes of matrix products, and so the last digits."""


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: checkpoint(name, tmp_path_factory.mktemp(name)) for name in ("r1", "r2")}


@pytest.fixture
async def swap(directories: dict[str, Path]) -> AsyncIterator[SwappingEngine]:
    """Speaks with r1."""
    engine = open_tiny(directories["r1"], "r1")
    swap = SwappingEngine(engine, await engine.info())
    yield swap
    await swap.close()


@pytest.fixture
async def r2(directories: dict[str, Path]) -> AsyncIterator[XttsEngine]:
    engine = open_tiny(directories["r2"], "r2")
    yield engine
    await engine.close()


def same(one: Pcm, other: Pcm) -> bool:
    return len(one) == len(other) and bool(np.abs(one - other).max() <= TOLERANCE)


async def closed(engine: SpeechEngine) -> bool:
    try:
        await engine.check()
    except Unavailable:
        return True
    return False


async def test_a_request_in_progress_ends_with_the_model_it_began_with_and_a_new_one_has_the_new_one(
    swap: SwappingEngine, r2: XttsEngine
) -> None:
    old = await heard(swap, request(LONG))
    new = await heard(r2, request(SHORT))
    assert not same(new, await heard(swap, request(SHORT)))
    begun = swap.stream(request(LONG))
    pieces = [(await anext(begun)).pcm]
    await swap.swap(r2)
    beside = asyncio.create_task(heard(swap, request(SHORT)))
    pieces += [chunk.pcm async for chunk in begun]
    assert same(np.concatenate(pieces), old)
    assert same(await beside, new)
    assert (await swap.info()).revision == swap.revision == "r2"


async def test_the_engine_of_before_is_closed_when_its_last_listener_has_gone(
    swap: SwappingEngine, r2: XttsEngine
) -> None:
    old = swap._now.engine
    begun = swap.stream(request(LONG))
    await anext(begun)
    await swap.swap(r2)
    assert not await swap.tidy(at_once=True)
    assert not await closed(old)
    assert (swap.stats().active, swap.stats().slots) == (1, 8)
    await begun.aclose()
    assert not await swap.tidy()  # the next piece of its text may come
    assert await swap.tidy(at_once=True)
    assert await closed(old)
    assert swap.stats().slots == 4
    await swap.check()


async def test_it_is_closed_after_a_time_in_which_nothing_came(
    swap: SwappingEngine, r2: XttsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await swap.swap(r2)
    monkeypatch.setattr(swapping, "LINGER_S", 0.0)
    assert await swap.tidy()
    assert await swap.tidy()


async def test_looking_for_deleted_voices_more_often_than_that_does_not_keep_it(
    swap: SwappingEngine, r2: XttsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FORGET_PERIOD_S < swapping.LINGER_S
    old = swap._now.engine
    await swap.swap(r2)
    began = time.monotonic()
    clock = SimpleNamespace(monotonic=lambda: began)
    monkeypatch.setattr(swapping, "time", clock)
    for passed in (FORGET_PERIOD_S, 2 * FORGET_PERIOD_S):
        clock.monotonic = lambda passed=passed: began + passed
        await swap.forget_deleted()
    assert await swap.tidy()
    assert await closed(old)


async def test_it_is_not_closed_while_deleted_voices_leave_its_memory(
    swap: SwappingEngine, r2: XttsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = swap._now.engine
    go_on = asyncio.Event()
    monkeypatch.setattr(old, "forget_deleted", go_on.wait)
    await swap.swap(r2)
    forgetting = asyncio.create_task(swap.forget_deleted())
    await asyncio.sleep(0)
    assert not await swap.tidy(at_once=True)
    go_on.set()
    await forgetting
    assert await swap.tidy(at_once=True)


async def test_the_rest_of_a_text_goes_to_the_model_that_began_it(
    swap: SwappingEngine, r2: XttsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await heard(swap, request(SHORT))
    monkeypatch.setattr(swapping, "STALE_S", 0.0)
    await swap.swap(r2)
    assert same(await heard(swap, request(SHORT, revision="r1", heard_in_s=2.0)), old)
    assert not same(await heard(swap, request(SHORT, revision="r1")), old)
    await swap.tidy(at_once=True)
    assert len(await heard(swap, request(SHORT, revision="r1", heard_in_s=2.0)))


async def test_every_stream_says_which_revision_speaks(
    swap: SwappingEngine, r2: XttsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def said(revision: str | None = None) -> list[str | None]:
        return [chunk.revision async for chunk in swap.stream(request(revision=revision))]

    first, *others = await said()
    assert first == "r1"
    assert set(others) == {None}
    await swap.swap(r2)
    assert [(await said(revision))[0] for revision in (None, "r1")] == ["r2", "r1"]
    monkeypatch.setattr(swap._before, "begins_until", time.monotonic())
    assert (await said("r1"))[0] == "r2"  # it has waited for long


async def test_callers_that_do_not_know_of_the_exchange_yet_find_the_presets_that_they_know(
    swap: SwappingEngine, r2: XttsEngine
) -> None:
    await swap.swap(r2)
    assert len(await heard(swap, request(SHORT, "Carl", revision="r1")))
    assert len(await heard(swap, request(SHORT, NEW_PRESET)))
    with pytest.raises(NotFound):
        await heard(swap, request(SHORT, "Carl"))


async def test_a_rollback_takes_the_engine_that_is_still_there(swap: SwappingEngine, r2: XttsEngine) -> None:
    old = await heard(swap, request(SHORT))
    assert not swap.swap_back("r1")
    await swap.swap(r2)
    assert not swap.swap_back("r3")
    assert swap.swap_back("r1")
    assert same(await heard(swap, request(SHORT)), old)
    assert await swap.tidy(at_once=True)
    assert await closed(r2)
