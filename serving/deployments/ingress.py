"""The ingress replica: FastAPI on the CPU in front of the engines."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

from fastapi import FastAPI
from ray import serve
from ray.serve import Deployment
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api import build_app
from serving.api.context import Context
from serving.api.launching import keep_in_sync
from serving.deployments.admission import Gate
from serving.deployments.background import Background
from serving.deployments.database import open_database
from serving.deployments.front import FrontDoor
from serving.deployments.metrics import RayMetrics
from serving.deployments.refusing import Refusals
from serving.deployments.remote import RemoteSpeech
from serving.deployments.remote_conversion import RemoteConverter
from serving.engines.conversion import VoiceConverter
from serving.engines.rvc.absent import AbsentConverter
from serving.errors import KubevoiceError, Unavailable
from serving.jobs.telling import WebhookLoop
from serving.launch import RunLauncher, open_launcher
from serving.logs import configure_logging
from serving.metrics import REPLICA_ALIVE, VOLUME_FREE, VOLUME_SIZE, Metrics
from serving.selection import conversion_fault
from serving.settings import Settings, with_secrets
from serving.store.audit import AuditStore
from serving.store.database import Database
from serving.store.job_queue import JobQueue
from serving.store.jobs import JobStore
from serving.store.models import ModelStore
from serving.store.voices import VoiceStore
from serving.store.volume import Volume
from serving.store.webhooks import WebhookQueue

logger = logging.getLogger(__name__)

SWEEP_PERIOD_S = 3600.0
REPORT_PERIOD_S = 1.0
"""Ray forgets a gauge after two of its report intervals, which are 2 s in `kubevoice serve`."""
KEEP_DELETED_S = 24 * 3600.0
"""Longer than any reader has a file open, and long enough to resume an interrupted download the next morning."""


class AsgiShell:
    """Hides FastAPI from Ray Serve, which would replace our error handlers, and leaves the request id to Serve."""

    def __init__(self, app: FastAPI) -> None:
        self._app: ASGIApp = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_once(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0].lower() != b"x-request-id"]
            await send(message)

        await self._app(scope, receive, send_once)


class IngressReplica:
    """Opens the store and builds the application around the handles of speech and, if it is served, conversion."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        speech: DeploymentHandle[Any],
        settings: Settings,
        conversion: DeploymentHandle[Any] | None = None,
        _jobs: DeploymentHandle[Any] | None = None,  # nobody calls it: jobs pass through the database
    ) -> None:
        self._background = Background()  # first: what there is is closed also where the rest cannot be begun
        self._telling: WebhookLoop | None = None
        settings = with_secrets(settings)
        configure_logging(settings.log)
        volume = Volume(settings.data)
        volume.create()
        database = open_database(settings)
        limits = settings.limits
        gate = Gate(limits.queued_per_ingress, limits.ongoing_per_replica, limits.max_wait_s)
        engine = RemoteSpeech(speech, gate)
        metrics = RayMetrics()
        converter = _converter(conversion, settings, volume)
        launcher = _launcher(settings)
        self._app = build_app(engine, VoiceStore(volume, database), settings, metrics, converter, launcher)
        FrontDoor.refusals = Refusals(self._app)
        keep = timedelta(hours=settings.jobs.retention_hours)
        audit, kept = AuditStore(database), timedelta(days=settings.auth.audit_days)
        sweeping = _sweep(volume, JobStore(volume, database), keep, lambda: audit.sweep(kept))
        self._background.start(sweeping, _report(volume, metrics))
        training = self._app.state.context.training
        if not isinstance(training, KubevoiceError):
            self._background.start(keep_in_sync(training))
        if not settings.jobs.workers:
            self._telling = await _left_alone(volume, database, metrics, settings)
            self._background.start(_kept_going(self._telling))

    async def __del__(self) -> None:
        """Ray Serve awaits it when the replica stops in order."""
        await self._background.close()
        if self._telling is not None:
            await self._telling.close()
        if hasattr(self, "_app"):  # else the start failed before it
            context: Context = self._app.state.context
            await context.denials.flush()

    async def __serve_build_asgi_app__(self) -> AsgiShell:
        return AsgiShell(self._app)

    async def drain(self) -> int:
        """Refuse new requests from now on; the number of requests in progress."""
        context: Context = self._app.state.context
        context.draining = True
        return context.in_progress


def _converter(handle: DeploymentHandle[Any] | None, settings: Settings, volume: Volume) -> VoiceConverter:
    if handle is not None:
        return RemoteConverter(handle, settings.limits.queued_per_ingress)
    fault = conversion_fault(settings, ModelStore(volume))
    return AbsentConverter(fault or Unavailable("voice conversion got its weights after the start; start again", 60))


def _launcher(settings: Settings) -> RunLauncher | KubevoiceError:
    """What runs training, or why nothing does: that must not keep a server from speaking."""
    try:
        return open_launcher(settings)
    except KubevoiceError as error:
        logger.warning("training is not served: %s", error)
        return error


async def _left_alone(volume: Volume, database: Database, metrics: Metrics, settings: Settings) -> WebhookLoop:
    """Where no worker is: what delivers the messages of jobs that have ended, or are cancelled now."""
    left = await asyncio.to_thread(JobQueue(volume, database).left)
    if left:
        logger.warning("%d texts of jobs wait and nobody speaks them: jobs.workers is 0; set it to 1 or more", left)
    telling = WebhookLoop(WebhookQueue(database), metrics, private=settings.jobs.webhook_private)
    telling.start()
    return telling


async def _kept_going(telling: WebhookLoop) -> None:
    """Begin delivery anew where a bug has ended it: no reason to replace a replica that answers requests."""
    while True:
        await asyncio.sleep(REPORT_PERIOD_S)
        if (failure := telling.failure) is not None:
            logger.error("the delivery of webhooks has ended and begins anew", exc_info=failure)
            await telling.close()
            telling.start()


async def _report(volume: Volume, metrics: Metrics) -> None:
    """How full the volume is, and that this replica lives."""
    while True:
        metrics.set(REPLICA_ALIVE, time.time(), deployment="Ingress")
        try:
            usage = await asyncio.to_thread(shutil.disk_usage, volume.root)
        except OSError as error:
            logger.warning("the volume does not say how full it is: %s", error)
        else:
            metrics.set(VOLUME_FREE, usage.free)
            metrics.set(VOLUME_SIZE, usage.total)
        await asyncio.sleep(REPORT_PERIOD_S)


async def _sweep(volume: Volume, jobs: JobStore, keep: timedelta, forget: Callable[[], object]) -> None:
    """Give back the space of old jobs, of what was deleted and of what a killed process left half-written.

    ``forget`` drops what the audit log has kept for long enough.
    """
    while True:
        try:
            await asyncio.to_thread(volume.sweep, KEEP_DELETED_S)
            await asyncio.to_thread(jobs.sweep, keep)
            await asyncio.to_thread(forget)
        except KubevoiceError as error:
            logger.warning("the volume or its jobs could not be swept: %s", error)
        await asyncio.sleep(SWEEP_PERIOD_S)


# Not as decorators: under its own name the class is pickled by reference, so replicas import it.
Ingress = cast("Deployment", serve.deployment(serve.ingress()(IngressReplica)))
