"""What a replica does beside its requests ends before it does."""

from __future__ import annotations

import asyncio
import logging

import pytest

from serving.deployments.background import Background

logger = logging.getLogger(__name__)


async def forever(seen: list[str], name: str) -> None:
    """Like the loops of replicas: no failure ends it, and each is in the log."""
    while True:
        try:
            await asyncio.to_thread(seen.append, name)
        except Exception:
            logger.exception("failed")
        await asyncio.sleep(0)


async def test_nothing_goes_on_when_it_is_closed_and_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    background = Background()
    background.start(forever(seen, "a"), forever(seen, "b"))
    background.start(forever(seen, "c"))
    async with asyncio.timeout(10):
        while set(seen) != set("abc"):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    await background.close()
    await asyncio.get_running_loop().shutdown_default_executor()  # as at the end of a process, while its loop runs
    number = len(seen)
    await asyncio.sleep(0.05)
    assert len(seen) == number
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not caplog.records


async def test_what_has_failed_before_does_not_keep_the_rest_from_ending() -> None:
    async def buggy() -> None:
        raise ZeroDivisionError

    background = Background()
    background.start(buggy(), forever([], "a"))
    await asyncio.sleep(0.01)
    await background.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
