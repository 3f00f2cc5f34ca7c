"""What the routes work with, handed in once by ``build_app``."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from serving.engines.base import EngineInfo, SpeechService
from serving.engines.conversion import VoiceConverter
from serving.metrics import Metrics
from serving.settings import Settings
from serving.store.conversion_models import ConversionModelStore
from serving.store.voices import VoiceStore

UPLOADS = 2
"""Conversion models that one ingress takes in at a time: each is a gigabyte at most."""

INFO_TTL_S = 5.0
"""Age at which an engine's description is asked for again."""


@dataclass
class Context:
    """The application's parts, and what the process is doing.

    ``draining``: no new requests are taken; ``in_progress``: requests begun and not answered to the end.
    """

    engine: SpeechService
    voices: VoiceStore
    settings: Settings
    metrics: Metrics
    converter: VoiceConverter
    conversion_models: ConversionModelStore
    draining: bool = False
    in_progress: int = 0
    uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPLOADS), repr=False)
    _info: EngineInfo | None = field(default=None, repr=False)
    _info_from: float = field(default=0.0, repr=False)
    _refresh: asyncio.Task[EngineInfo] | None = field(default=None, repr=False)

    @property
    def known_info(self) -> EngineInfo | None:
        """What the engine was when it was last asked; asks nothing."""
        return self._info

    async def info(self) -> EngineInfo:
        """What the engine is; only the first request waits for the engine to say so."""
        if self._info is None:
            return await self._ask()
        if time.monotonic() - self._info_from > INFO_TTL_S and (self._refresh is None or self._refresh.done()):
            self._refresh = asyncio.create_task(self._ask())
            self._refresh.add_done_callback(_forget_error)
        return self._info

    async def _ask(self) -> EngineInfo:
        self._info = await self.engine.info()
        self._info_from = time.monotonic()
        return self._info


def _forget_error(task: asyncio.Task[EngineInfo]) -> None:
    """An engine that does not answer now is asked again by the next request."""
    if not task.cancelled():
        task.exception()


def _context(request: Request) -> Context:
    return cast("Context", request.app.state.context)


Ctx = Annotated[Context, Depends(_context)]
