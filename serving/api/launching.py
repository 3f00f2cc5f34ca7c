"""What the routes of datasets and training work with; where training is not served they say so."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, ParamSpec, TypeVar

from fastapi import Depends

from serving.api.context import Ctx
from serving.errors import KubevoiceError, NotFound, TryLater
from serving.launch import RunLauncher
from serving.runs import Preparations, Trainings
from serving.store.database import Database
from serving.store.datasets import DatasetStore
from serving.store.launched import Launched
from serving.store.models import ModelStore
from serving.store.training_runs import TrainingRunStore
from serving.store.volume import Volume

NOT_SERVED = NotFound("training is not served here; see launch.launcher in docs/settings.md", code="not_served")

THREADS = ThreadPoolExecutor(8, thread_name_prefix="launch")
"""Apart from the threads that speech uses: a Kubernetes API that does not answer must not silence it."""

SYNC_PERIOD_S = 5.0

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """Stores, and the launcher that works on their records."""

    datasets: DatasetStore
    runs: TrainingRunStore
    models: ModelStore
    preparations: Preparations
    trainings: Trainings
    launcher: RunLauncher


def training_parts(volume: Volume, database: Database, launcher: RunLauncher) -> Training:
    datasets, runs = DatasetStore(volume, database), TrainingRunStore(volume, database)
    return Training(
        datasets, runs, ModelStore(volume), Preparations(datasets, launcher), Trainings(runs, launcher), launcher
    )


async def _training(context: Ctx) -> Training:
    if isinstance(context.training, KubevoiceError):
        raise context.training
    return context.training


TrainingCtx = Annotated[Training, Depends(_training)]


async def launching(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``function`` in a thread for work that asks the launcher or moves large files; it knows who asks."""
    call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(THREADS, call)


def forget(run: Launched, training: Training) -> None:
    """Remove what the launcher has of the run's attempts, as far as it can be told now."""
    for attempt in range(1, run.attempt + 1):
        try:
            training.launcher.stop(f"{run.id}-{attempt}")
        except NotFound:
            continue
        except TryLater:
            return


async def keep_in_sync(training: Training) -> None:
    """Take up what was left half done, for as long as this process lives; several may do so at once."""
    while True:
        for runs in (training.preparations, training.trainings):
            try:
                await launching(runs.sync)
            except KubevoiceError as error:
                logger.warning("runs could not be looked after: %s", error)
        await asyncio.sleep(SYNC_PERIOD_S)
