"""The ingress replica: FastAPI on the CPU in front of the engines."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from typing import Any, cast

from fastapi import FastAPI
from ray import serve
from ray.serve import Deployment
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api import build_app
from serving.api.context import Context
from serving.deployments.metrics import RayMetrics
from serving.deployments.remote import RemoteSpeech
from serving.deployments.remote_conversion import RemoteConverter
from serving.engines.conversion import VoiceConverter
from serving.engines.rvc.absent import AbsentConverter
from serving.errors import KubevoiceError, Unavailable
from serving.logs import configure_logging
from serving.metrics import REPLICA_ALIVE, VOLUME_FREE, VOLUME_SIZE, Metrics
from serving.selection import conversion_fault
from serving.settings import Settings, load_settings
from serving.store.database import Database
from serving.store.models import ModelStore
from serving.store.voices import VoiceStore
from serving.store.volume import Volume

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
        self, speech: DeploymentHandle[Any], settings: Settings, conversion: DeploymentHandle[Any] | None = None
    ) -> None:
        configure_logging(settings.log)
        volume = Volume(settings.data)
        volume.create()
        url = (
            settings.database.url or load_settings().database.url
        )  # see serving.app: the environment's is not handed on
        database = Database.for_volume(url.get_secret_value() if url else None, settings.data)
        database.migrate()
        engine = RemoteSpeech(speech, settings.limits.queued_per_ingress)
        metrics = RayMetrics()
        converter = _converter(conversion, settings, volume)
        self._app = build_app(engine, VoiceStore(volume, database), settings, metrics, converter)
        self._tasks = [asyncio.create_task(_sweep(volume)), asyncio.create_task(_report(volume, metrics))]

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


async def _sweep(volume: Volume) -> None:
    """Give back the space of what was deleted, and of what a killed process left half-written."""
    while True:
        try:
            await asyncio.to_thread(volume.sweep, KEEP_DELETED_S)
        except KubevoiceError as error:
            logger.warning("the volume could not be swept: %s", error)
        await asyncio.sleep(SWEEP_PERIOD_S)


# Not as decorators: under its own name the class is pickled by reference, so replicas import it.
Ingress = cast("Deployment", serve.deployment(serve.ingress()(IngressReplica)))
