"""The replica that speaks jobs: on the CPU, with the engines behind a handle."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any, cast

from ray import serve
from ray.serve import Deployment
from ray.serve.handle import DeploymentHandle

from serving.deployments.admission import Gate
from serving.deployments.background import Background
from serving.deployments.database import open_database
from serving.deployments.metrics import RayMetrics
from serving.deployments.remote import RemoteSpeech
from serving.errors import EngineError, KubevoiceError
from serving.jobs.loop import JobLoop
from serving.jobs.telling import WebhookLoop
from serving.logs import configure_logging
from serving.metrics import JOB_ITEMS_LEFT, REPLICA_ALIVE
from serving.settings import Settings
from serving.store.job_queue import JobQueue
from serving.store.voices import VoiceStore
from serving.store.volume import Volume
from serving.store.webhooks import WebhookQueue

REPORT_PERIOD_S = 1.0


class JobsReplica:
    """Pulls items from the database and speaks them, and tells webhooks when a job has ended; nobody calls it."""

    async def __init__(self, speech: DeploymentHandle[Any], settings: Settings) -> None:  # type: ignore[misc]
        self._background = Background()  # first: what there is is closed also where the rest cannot be begun
        self._loops: list[JobLoop | WebhookLoop] = []
        configure_logging(settings.log)
        volume = Volume(settings.data)
        volume.create()
        database = await asyncio.to_thread(open_database, settings)
        engine = RemoteSpeech(speech, Gate(settings.jobs.concurrency))
        queue, metrics = JobQueue(volume, database), RayMetrics()
        self._loops = [
            JobLoop(queue, engine, VoiceStore(volume, database), settings, metrics),
            WebhookLoop(WebhookQueue(database), metrics, private=settings.jobs.webhook_private),
        ]
        for loop in self._loops:
            loop.start()
        self._background.start(_report(queue, metrics))

    async def check_health(self) -> None:
        """Ray Serve's probe: three failures in a row replace this replica."""
        for loop in self._loops:
            if (failure := loop.failure) is not None:
                raise EngineError(f"a loop of jobs has ended: {failure!r}") from failure

    async def __del__(self) -> None:
        """Ray Serve awaits it when the replica stops in order."""
        await asyncio.gather(self._background.close(), *[loop.close() for loop in self._loops])


async def _report(queue: JobQueue, metrics: RayMetrics) -> None:
    """That this replica lives, and how much is left to speak, by all of them."""
    while True:
        metrics.set(REPLICA_ALIVE, time.time(), deployment="Jobs")
        with suppress(KubevoiceError):  # the loop says so in the log
            metrics.set(JOB_ITEMS_LEFT, await asyncio.to_thread(queue.left))
        await asyncio.sleep(REPORT_PERIOD_S)


# Not as a decorator: under its own name the class is pickled by reference, so replicas import it.
Jobs = cast("Deployment", serve.deployment(JobsReplica))
