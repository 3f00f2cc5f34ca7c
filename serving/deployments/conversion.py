"""The conversion replica: one RVC converter that owns its device, and its numbers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import cast

from ray import serve
from ray.serve import Deployment

from serving.deployments.metrics import RayMetrics
from serving.deployments.speech import STATS_PERIOD_S, readings
from serving.engines.base import Pcm
from serving.engines.conversion import ConversionOptions, ConversionVoice, ConversionVoiceFacts
from serving.engines.rvc.windows import Window
from serving.logs import configure_logging, request_id
from serving.metrics import MODEL_LOAD_SECONDS, MODEL_LOADS, REPLICA_ALIVE
from serving.selection import open_converter
from serving.settings import Settings
from serving.store.models import ModelStore
from serving.store.volume import Volume

ENGINE = "rvc"
KNOWN_VOICES = 256
"""Voices that a replica says to have had, so that their windows come to it again; the memory is the converter's own
business: what Serve keeps for each is its id."""


class ConversionReplica:
    """Loads the converter, proves that it computes, and converts."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits it
        configure_logging(settings.log)
        self._metrics = RayMetrics()
        began = time.perf_counter()
        try:
            volume = ModelStore(Volume(settings.data))
            self._converter = await asyncio.to_thread(open_converter, with_visible_device(settings), volume)
            await self._converter.check()
        except BaseException:
            self._metrics.add(MODEL_LOADS, engine=ENGINE, outcome="failed")
            raise
        self._metrics.add(MODEL_LOADS, engine=ENGINE, outcome="loaded")
        self._metrics.observe(MODEL_LOAD_SECONDS, time.perf_counter() - began, engine=ENGINE)
        self._reporter = asyncio.create_task(self._report())

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
        """Ray Serve's probe: three failures in a row replace this replica."""
        await self._converter.check()

    @serve.multiplexed(max_num_models_per_replica=KNOWN_VOICES)  # type: ignore[untyped-decorator]
    async def _remember(self, voice_id: str) -> str:
        """Tells the callers' routers that this replica has the voice."""
        return voice_id

    async def _report(self) -> None:
        while True:
            self._metrics.set(REPLICA_ALIVE, time.time(), deployment=ENGINE.capitalize())
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
