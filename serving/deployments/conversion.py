"""The conversion replica: one RVC converter that owns its device, and its numbers."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import cast

from ray import serve
from ray.serve import Deployment

from serving.deployments.background import Background
from serving.deployments.metrics import RayMetrics
from serving.deployments.speech import STATS_PERIOD_S, readings
from serving.engines.base import Pcm
from serving.engines.conversion import ConversionEngine, ConversionOptions, ConversionVoice, ConversionVoiceFacts
from serving.engines.failures import typed
from serving.engines.rvc.absent import AbsentConverter
from serving.engines.rvc.windows import Window
from serving.logs import configure_logging, request_id
from serving.metrics import MODEL_LOAD_SECONDS, MODEL_LOADS, REPLICA_ALIVE, Metrics
from serving.selection import conversion_weights_fault, open_converter
from serving.settings import Settings
from serving.store.models import ModelStore
from serving.store.volume import Volume

logger = logging.getLogger(__name__)

ENGINE = "rvc"
LOOK_S, RETRY_S = 3.0, 60.0
"""Seconds between two looks for weights that are missing, and after some that could not be used."""

FORGET_PERIOD_S = 5.0
"""How often to look for voices in memory whose files were deleted: one question to the volume for each."""

KNOWN_VOICES = 256
"""Voices that a replica says to have had, so that their windows come to it again; the memory is the converter's own
business: what Serve keeps for each is its id."""


class ConversionReplica:
    """Loads the converter, proves that it computes, and converts; waits where its weights are not on the volume yet."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits it
        self._background = Background()  # first: it is closed also where the rest cannot be begun
        configure_logging(settings.log)
        self._metrics: Metrics = RayMetrics()
        self._settings = with_visible_device(settings)
        self._models = ModelStore(Volume(settings.data))
        self._converter: ConversionEngine | AbsentConverter
        if fault := conversion_weights_fault(self._models):
            logger.warning("%s", fault)
            self._converter = AbsentConverter(fault)
            self._background.start(self._wait_for_weights())
        else:
            self._converter = await self._load()
        self._background.start(self._report(), self._forget())

    async def __del__(self) -> None:
        """Ray Serve awaits it when the replica stops in order."""
        await self._background.close()

    async def _load(self) -> ConversionEngine:
        began = time.perf_counter()
        try:
            converter = await asyncio.to_thread(open_converter, self._settings, self._models)
            await converter.check()
        except BaseException:
            self._metrics.add(MODEL_LOADS, engine=ENGINE, outcome="failed")
            raise
        self._metrics.add(MODEL_LOADS, engine=ENGINE, outcome="loaded")
        self._metrics.observe(MODEL_LOAD_SECONDS, time.perf_counter() - began, engine=ENGINE)
        return converter

    async def _wait_for_weights(self) -> None:
        """Load as soon as the weights are there; speech and everything else work meanwhile."""
        while isinstance(self._converter, AbsentConverter):
            await asyncio.sleep(LOOK_S)
            if await asyncio.to_thread(conversion_weights_fault, self._models):
                continue
            try:
                self._converter = await self._load()
            except Exception as error:
                logger.exception("the weights of voice conversion came and cannot be used; next try in %d s", RETRY_S)
                self._converter = AbsentConverter(typed(error, "RVC"))
                await asyncio.sleep(RETRY_S)
            else:
                logger.info("the weights of voice conversion came; it is on")

    async def convert(
        self,
        window: Window,
        voice: ConversionVoice,
        options: ConversionOptions,
        seed: int,
        request_token: str | None = None,
    ) -> Pcm:
        """One window; ``request_token`` is the caller's request id, for the log."""
        request_id.set(request_token)
        await self._remember(voice.id)
        return await self._converter.convert(window, voice, options, seed)

    async def ingest(self, weights: Path, index: Path | None, directory: Path) -> ConversionVoiceFacts:
        return await self._converter.ingest(weights, index, directory)

    async def check(self) -> None:
        await self._converter.check()

    async def check_health(self) -> None:
        """Ray Serve's probe: three failures in a row replace this replica. To wait for weights is no failure."""
        if not isinstance(self._converter, AbsentConverter):
            await self._converter.check()

    @serve.multiplexed(max_num_models_per_replica=KNOWN_VOICES)  # type: ignore[untyped-decorator]
    async def _remember(self, voice_id: str) -> str:
        """Tells the callers' routers that this replica has the voice."""
        return voice_id

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(FORGET_PERIOD_S)
            if not isinstance(self._converter, ConversionEngine):
                continue
            try:
                await self._converter.forget_deleted()
            except Exception:
                logger.exception("voices that were deleted could not be dropped from memory")

    async def _report(self) -> None:
        while True:
            self._metrics.set(REPLICA_ALIVE, time.time(), deployment=ENGINE.capitalize())
            if isinstance(self._converter, ConversionEngine):
                for metric, value in readings(self._converter.stats()).items():
                    self._metrics.set(metric, value, model=ENGINE)
            await asyncio.sleep(STATS_PERIOD_S)


def with_visible_device(settings: Settings) -> Settings:
    """``settings`` with ``cuda`` for ``cuda:N`` where Ray assigns the GPU: it shows that one only, as number 0."""
    if settings.rvc.replicas.gpus == 0 or not settings.rvc.device.startswith("cuda:"):
        return settings
    return settings.model_copy(update={"rvc": settings.rvc.model_copy(update={"device": "cuda"})})


# Not as a decorator: under its own name the class is pickled by reference, so replicas import it.
Conversion = cast("Deployment", serve.deployment(ConversionReplica))
