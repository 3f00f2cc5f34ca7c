"""An engine whose model can be exchanged while it speaks."""

from __future__ import annotations

import dataclasses
import gc
import logging
import math
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, contextmanager

from serving.engines.base import (
    EngineInfo,
    EngineStats,
    PendingRevision,
    SpeechChunk,
    SpeechEngine,
    SpeechRequest,
    Voice,
)

logger = logging.getLogger(__name__)

STALE_S = 10.0
"""So long after an exchange callers may not know of it: what they begin for the revision of before still gets it."""

LINGER_S = 45.0
"""Idle time after which the engine of before is closed: longer than the audio of one piece of a long text, after which
its next piece comes at the latest."""


class _Held:
    """An engine and who uses it."""

    def __init__(self, engine: SpeechEngine, info: EngineInfo) -> None:
        self.engine = engine
        self.info = info
        self.users = 0
        self.used_at = time.monotonic()
        self.begins_until = math.inf

    @contextmanager
    def kept_open(self) -> Iterator[SpeechEngine]:
        self.users += 1
        try:
            yield self.engine
        finally:
            self.users -= 1

    @contextmanager
    def in_use(self) -> Iterator[SpeechEngine]:
        try:
            with self.kept_open() as engine:
                yield engine
        finally:
            self.used_at = time.monotonic()

    def takes(self, request: SpeechRequest) -> bool:
        """Whether ``request`` is meant for it, and goes on with what it began or was sent before its callers knew."""
        begun = request.heard_in_s is not None
        return request.revision == self.info.revision and (begun or time.monotonic() < self.begins_until)


class SwappingEngine(SpeechEngine):
    """Speaks with one engine, and keeps the one before until the requests that it began have ended.

    All methods belong to one event loop.
    """

    def __init__(self, engine: SpeechEngine, info: EngineInfo) -> None:
        self._now = _Held(engine, info)
        self._before: _Held | None = None
        self.pending: PendingRevision | None = None

    @property
    def model(self) -> str:
        return self._now.info.model

    @property
    def revision(self) -> str:
        return self._now.info.revision

    async def info(self) -> EngineInfo:
        return dataclasses.replace(self._now.info, pending=self.pending)

    async def stream(self, request: SpeechRequest) -> AsyncGenerator[SpeechChunk, None]:
        held = self._chosen(request)
        with held.in_use() as engine:
            chunks = engine.stream(request)
            try:
                first = await anext(chunks, None)
                if first is not None:
                    yield dataclasses.replace(first, revision=held.info.revision)
                async for chunk in chunks:
                    yield chunk
            finally:
                await chunks.aclose()

    async def prepare(self, voice: Voice) -> None:
        with self._now.in_use() as engine:
            await engine.prepare(voice)

    async def similarity(self, voice: Voice) -> float | None:
        with self._now.in_use() as engine:
            return await engine.similarity(voice)

    async def check(self) -> None:
        await self._now.engine.check()

    async def forget_deleted(self) -> None:
        """Of both engines. It comes more often than ``LINGER_S`` and is no use of the one of before."""
        with ExitStack() as stack:
            engines = [stack.enter_context(held.kept_open()) for held in (self._now, self._before) if held is not None]
            for engine in engines:
                await engine.forget_deleted()

    def stats(self) -> EngineStats:
        """Of both engines together."""
        stats = self._now.engine.stats()
        return stats if self._before is None else together(stats, self._before.engine.stats())

    async def swap(self, engine: SpeechEngine) -> None:
        """Speak with ``engine`` from now on; there must be no engine of before."""
        assert self._before is None, "two models have room, not three"
        self._exchange(_Held(engine, await engine.info()))

    def swap_back(self, revision: str) -> bool:
        """Speak with the engine of before again if it is still there and has ``revision``."""
        if self._before is None or self._before.info.revision != revision:
            return False
        self._exchange(self._before)
        return True

    async def tidy(self, *, at_once: bool = False) -> bool:
        """Close the engine of before when nobody has used it for long, or uses it ``at_once``; True if none is left."""
        before = self._before
        if before is None:
            return True
        if before.users or not (at_once or time.monotonic() - before.used_at >= LINGER_S):
            return False
        self._before = None
        revision = before.info.revision
        await before.engine.close()
        del before
        release_memory()
        logger.info("revision %s is closed and its memory given back", revision)
        return True

    async def close(self) -> None:
        await self._now.engine.close()
        if self._before is not None:
            await self._before.engine.close()

    def _chosen(self, request: SpeechRequest) -> _Held:
        if self._before is not None and self._before.takes(request):
            return self._before
        return self._now

    def _exchange(self, held: _Held) -> None:
        self._before, self._now = self._now, held
        self._before.used_at = time.monotonic()
        self._before.begins_until = self._before.used_at + STALE_S


def together(one: EngineStats, other: EngineStats) -> EngineStats:
    """The load of two engines on one device."""
    return EngineStats(
        active=one.active + other.active,
        queued=one.queued + other.queued,
        queue_age_s=max(one.queue_age_s, other.queue_age_s),
        slots=one.slots + other.slots,
        slots_used=one.slots_used + other.slots_used,
        tokens_per_s=one.tokens_per_s + other.tokens_per_s,
        audio_s_per_s=one.audio_s_per_s + other.audio_s_per_s,
        first_audio_s=one.first_audio_s,
        real_time_factor=one.real_time_factor,
    )


def release_memory() -> None:
    """Give back what nobody refers to any more; an engine and its thread refer to each other."""
    from serving.engines.memory import give_back

    gc.collect()
    give_back()
