"""The speech replica: one engine that owns its device, and its numbers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from typing import cast

from ray import serve
from ray.serve import Deployment

from serving.deployments.alive import with_signs
from serving.deployments.background import Background
from serving.deployments.gathering import gathered
from serving.deployments.metrics import RayMetrics
from serving.deployments.reload import Reloader
from serving.deployments.swapping import SwappingEngine
from serving.engines.base import EngineInfo, EngineStats, SpeechChunk, SpeechRequest, Voice
from serving.logs import configure_logging, request_id
from serving.metrics import (
    ACTIVE_STREAMS,
    AUDIO_PER_S,
    MODEL_LOAD_SECONDS,
    MODEL_LOADS,
    QUEUE_AGE,
    QUEUED_STREAMS,
    REPLICA_ALIVE,
    SLOTS,
    SLOTS_USED,
    TOKENS_PER_S,
    Metric,
)
from serving.selection import choose_engine, open_engine
from serving.settings import Settings
from serving.store.models import ModelStore
from serving.store.volume import Volume

STATS_PERIOD_S = 1.0

FORGET_PERIOD_S = 30.0
"""Time between two looks for voices that were deleted: what is known of them leaves memory."""

logger = logging.getLogger(__name__)


class SpeechReplica:
    """Loads the engine, proves that it computes, streams, and takes up the revisions that are promoted."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits it
        self._background = Background()  # first: it is closed also where the rest cannot be begun
        configure_logging(settings.log)
        self._metrics = RayMetrics()
        settings = with_visible_device(settings)
        models = ModelStore(Volume(settings.data))
        name = choose_engine(settings, models).engine
        began = time.perf_counter()
        try:
            engine = await asyncio.to_thread(open_engine, settings, models)
            await engine.check()
        except BaseException:
            self._metrics.add(MODEL_LOADS, engine=name, outcome="failed")
            raise
        self._metrics.add(MODEL_LOADS, engine=name, outcome="loaded")
        self._metrics.observe(MODEL_LOAD_SECONDS, time.perf_counter() - began, engine=name)
        self._engine = SwappingEngine(engine, await engine.info())
        self._background.start(self._report(name.capitalize()), self._forget())
        if name == "xtts":  # espeak goes on although weights appear: the deployment's resources were chosen for it
            reloader = Reloader(settings, models, self._engine, self._metrics)
            self._background.start(reloader.run())

    async def __del__(self) -> None:
        """Ray Serve awaits it when the replica stops in order."""
        await self._background.close()

    async def stream(
        self, request: SpeechRequest, request_token: str | None = None
    ) -> AsyncGenerator[SpeechChunk | None, None]:
        """One utterance, and signs of life; ``request_token`` is the caller's request id, for the log."""
        request_id.set(request_token)
        chunks = with_signs(gathered(self._engine.stream(request), request.heard_in_s or 0.0))
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()

    async def info(self) -> EngineInfo:
        return await self._engine.info()

    async def prepare(self, voice: Voice) -> None:
        await self._engine.prepare(voice)

    async def similarity(self, voice: Voice) -> float | None:
        return await self._engine.similarity(voice)

    async def check(self) -> None:
        await self._engine.check()

    async def check_health(self) -> None:
        """Ray Serve's probe: three failures in a row replace this replica."""
        await self._engine.check()

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(FORGET_PERIOD_S)
            try:
                await self._engine.forget_deleted()
            except Exception:
                logger.exception("what is known of deleted voices could not be dropped")

    async def _report(self, deployment: str) -> None:
        while True:
            self._metrics.set(REPLICA_ALIVE, time.time(), deployment=deployment)
            for metric, value in readings(self._engine.stats()).items():
                self._metrics.set(metric, value, model=self._engine.model)
            await asyncio.sleep(STATS_PERIOD_S)


def readings(stats: EngineStats) -> dict[Metric, float]:
    """What an engine's numbers are exported as."""
    return {
        ACTIVE_STREAMS: stats.active,
        QUEUED_STREAMS: stats.queued,
        QUEUE_AGE: stats.queue_age_s,
        SLOTS: stats.slots,
        SLOTS_USED: stats.slots_used,
        TOKENS_PER_S: stats.tokens_per_s,
        AUDIO_PER_S: stats.audio_s_per_s,
    }


def with_visible_device(settings: Settings) -> Settings:
    """``settings`` with ``cuda`` for ``cuda:N`` where Ray assigns the GPU: it shows that one only, as number 0."""
    if settings.replicas.gpus == 0 or not settings.xtts.device.startswith("cuda:"):
        return settings
    return settings.model_copy(update={"xtts": settings.xtts.model_copy(update={"device": "cuda"})})


# Not as a decorator: under its own name the class is pickled by reference, so replicas import it.
Speech = cast("Deployment", serve.deployment(SpeechReplica))
