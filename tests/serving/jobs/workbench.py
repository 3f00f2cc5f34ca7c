"""Items to speak, and loops that speak them until nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from serving.engines.base import SpeechService
from serving.jobs.loop import JobLoop
from serving.metrics import LocalMetrics, Metrics
from serving.settings import Settings
from serving.settings_groups import JobSettings
from serving.store.job_queue import Claimed, JobQueue
from serving.store.voices import VoiceStore
from tests.serving.store.job_workbench import OPTIONS

WAIT_S = 60.0


def claimed(text: str, number: int = 1) -> Claimed:
    """An item that nothing records."""
    return Claimed("job-1", number, "lease", "default", "list", OPTIONS, Path("/nowhere"), text, None, None)


def loop_of(
    store: VoiceStore, engine: SpeechService, settings: Settings, metrics: Metrics | None = None, **jobs: float
) -> JobLoop:
    """A loop with ``jobs`` settings, as a worker has one."""
    settings = settings.model_copy(update={"jobs": JobSettings.model_validate({"concurrency": 2, **jobs})})
    return JobLoop(JobQueue(store.volume, store.database), engine, store, settings, metrics or LocalMetrics())


@asynccontextmanager
async def running(loop: JobLoop) -> AsyncIterator[JobLoop]:
    loop.start()
    try:
        yield loop
    finally:
        await loop.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait until something in the database or on the volume is true."""
    async with asyncio.timeout(WAIT_S):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
