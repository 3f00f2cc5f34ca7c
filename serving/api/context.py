"""What the routes work with, handed in once by ``build_app``."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from serving.engines.base import EngineInfo, SpeechService
from serving.metrics import Metrics
from serving.settings import Settings
from serving.store.voices import VoiceStore

INFO_TTL_S = 5.0
"""How long an engine's description is kept: a promoted model shows up within this time."""


@dataclass
class Context:
    """The application's parts. ``info()`` saves a hop to the engine on every request."""

    engine: SpeechService
    voices: VoiceStore
    settings: Settings
    metrics: Metrics
    _info: tuple[float, EngineInfo] | None = field(default=None, repr=False)

    async def info(self) -> EngineInfo:
        now = time.monotonic()
        if self._info is None or now - self._info[0] > INFO_TTL_S:
            self._info = (now, await self.engine.info())
        return self._info[1]


def _context(request: Request) -> Context:
    return cast("Context", request.app.state.context)


Ctx = Annotated[Context, Depends(_context)]
