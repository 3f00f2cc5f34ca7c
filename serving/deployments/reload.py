"""Takes up the revision that is promoted while a replica speaks: loaded beside the old one, proved, exchanged."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from dataclasses import dataclass

from serving.deployments.swapping import SwappingEngine, release_memory
from serving.engines.base import PendingRevision, SpeechEngine, SpeechRequest, Voice
from serving.errors import ConfigurationError, EngineError, KubevoiceError, ModelFilesError
from serving.metrics import MODEL_LOAD_SECONDS, MODEL_LOADS, Metrics
from serving.selection import open_revision
from serving.settings import Settings
from serving.store.models import ModelRevision, ModelStore, verify_xtts

logger = logging.getLogger(__name__)

WATCH_S = 3.0
"""Mean time between two looks at the pointer; each replica has its own moments, so that not all load at once."""

RETRY_S, RETRY_MOST_S = 60.0, 960.0
"""Wait after a revision could not be taken up, doubled each time; another revision is tried at once."""

PROOF_S = 120.0
PROOF = "One, two, three."
SHORTEST_S, FAINTEST = 0.3, 1e-4
"""Audio of that sentence that is shorter, or whose largest sample is smaller, is no speech."""


@dataclass(frozen=True)
class _Failure:
    """``revision`` could not be taken up (None: nobody knows which one is current); until ``again_at`` it rests."""

    revision: str | None
    wait_s: float
    again_at: float


class Reloader:
    """Keeps ``engine`` on the current revision of the model that the settings name."""

    def __init__(self, settings: Settings, models: ModelStore, engine: SwappingEngine, metrics: Metrics) -> None:
        self._settings = settings
        self._models = models
        self._engine = engine
        self._metrics = metrics
        self._failure: _Failure | None = None

    async def run(self) -> None:
        """Look at the pointer until this is cancelled."""
        while True:
            await asyncio.sleep(WATCH_S * random.uniform(0.5, 1.5))  # noqa: S311
            try:
                await self.look()
            except Exception:
                logger.exception("the current model could not be looked at")

    async def look(self) -> None:
        """Take up the current revision if it is another one than the one that speaks."""
        await self._engine.tidy()
        try:
            wanted = await asyncio.to_thread(self._models.current, "xtts", self._settings.xtts.model)
        except ModelFilesError as error:
            if not self._resting(None):
                self._fail(None, error)
            return
        if wanted is None or wanted.revision == self._engine.revision:
            self._failure = self._engine.pending = None
        elif not self._resting(wanted.revision):
            await self._take_up(wanted)

    async def _take_up(self, wanted: ModelRevision) -> None:
        self._engine.pending = PendingRevision(wanted.revision, "loading")
        if not self._engine.swap_back(wanted.revision):
            if not await self._engine.tidy(at_once=True):
                return  # the one of before still has listeners; the next look tries again
            began = time.perf_counter()
            engine = await self._load(wanted)
            if engine is None:
                return
            self._metrics.add(MODEL_LOADS, engine="xtts", outcome="loaded")
            self._metrics.observe(MODEL_LOAD_SECONDS, time.perf_counter() - began, engine="xtts")
            await self._engine.swap(engine)
        self._failure = self._engine.pending = None
        logger.info("revision %s of %s speaks from now on", wanted.revision, wanted.name)

    async def _load(self, wanted: ModelRevision) -> SpeechEngine | None:
        """An engine that has spoken; None, and the reason in the log, if there cannot be one."""
        engine = None
        try:
            engine = await asyncio.to_thread(self._open, wanted, self._engine.stats().slots)
            await prove(engine)
        except Exception as error:  # noqa: BLE001 whatever it is, the old revision goes on
            if engine is not None:
                await engine.close()
            engine = None
            self._metrics.add(MODEL_LOADS, engine="xtts", outcome="failed")
            self._fail(wanted.revision, error)
        if engine is None:
            release_memory()  # out here, where no traceback refers to the engine
        return engine

    def _open(self, wanted: ModelRevision, slots: int) -> SpeechEngine:
        """With ``slots``, as many as the engine that speaks has, or with those that have room beside it."""
        verify_xtts(wanted.path)
        try:
            return open_revision(self._settings, wanted, slots)
        except ConfigurationError as error:
            if self._settings.xtts.slots is not None:
                raise
            logger.warning("%s; revision %s gets fewer until the replica is restarted", error, wanted.revision)
        return open_revision(self._settings, wanted, None)

    def _resting(self, revision: str | None) -> bool:
        failure = self._failure
        return failure is not None and failure.revision == revision and time.monotonic() < failure.again_at

    def _fail(self, revision: str | None, error: Exception) -> None:
        again = self._failure is not None and self._failure.revision == revision
        wait = min(2 * self._failure.wait_s, RETRY_MOST_S) if again and self._failure else RETRY_S
        self._failure = _Failure(revision, wait, time.monotonic() + wait)
        if revision is not None:
            self._engine.pending = PendingRevision(revision, "failed")
        logger.error(
            "the current revision (%s) cannot be taken up, %s goes on speaking: %s; next try in %d s, or when another "
            "is promoted",
            revision or "unknown",
            self._engine.revision,
            error.message if isinstance(error, KubevoiceError) else f"{type(error).__name__}: {error}",
            wait,
        )


async def prove(engine: SpeechEngine) -> None:
    """Return when ``engine`` has spoken with its first preset, or computes if it has none; raises what is wrong."""
    await engine.check()
    info = await engine.info()
    if not info.presets:
        return
    language = "en" if "en" in info.languages else info.languages[0]
    request = SpeechRequest(PROOF, Voice(info.presets[0], preset=info.presets[0]), language, seed=0)
    seconds, peaks = 0.0, [0.0]
    try:
        async with asyncio.timeout(PROOF_S):
            async for chunk in engine.stream(request):
                seconds += chunk.seconds
                peaks.append(float(abs(chunk.pcm).max(initial=0.0)))
    except TimeoutError:
        raise EngineError(f"it did not speak a sentence within {PROOF_S:g} s") from None
    if seconds < SHORTEST_S or max(peaks) < FAINTEST or not all(map(math.isfinite, peaks)):
        raise EngineError(
            f"it does not speak: {PROOF!r} became {seconds:.2f} s of audio with peaks of {max(peaks):.1g}"
        )
