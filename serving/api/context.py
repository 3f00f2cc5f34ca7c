"""What the routes work with, handed in once by ``build_app``."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from serving.api.denials import Denials
from serving.api.quotas import Quotas
from serving.engines.base import EngineInfo, SpeechService
from serving.engines.conversion import VoiceConverter
from serving.errors import KubevoiceError
from serving.metrics import AUDIT_LOST, Metrics
from serving.settings import Settings
from serving.store.api_keys import ApiKeyStore
from serving.store.audit import AuditStore, Entry
from serving.store.conversion_models import ConversionModelStore
from serving.store.job_items import JobItemStore
from serving.store.jobs import JobStore
from serving.store.speech_profiles import SpeechProfileStore
from serving.store.voice_consents import VoiceConsentStore
from serving.store.voices import VoiceStore

if TYPE_CHECKING:
    from serving.api.launching import Training

INGESTING = 2
"""Conversion models and datasets that one ingress checks and unpacks at a time, of those that it has on the volume."""

INFO_TTL_S = 5.0
"""Age at which an engine's description is asked for again."""

INFO_OLD_S, INFO_WAIT_S = 20.0, 1.0
"""Age at which a request waits for the answer, and how long: another model may have been promoted meanwhile."""


@dataclass
class Context:
    """The application's parts, and what the process is doing.

    ``training`` is why it is not served, where it is not.
    ``draining``: no new requests are taken; ``in_progress``: requests begun and not answered to the end.
    """

    engine: SpeechService
    voices: VoiceStore
    consents: VoiceConsentStore
    settings: Settings
    metrics: Metrics
    converter: VoiceConverter
    conversion_models: ConversionModelStore
    training: Training | KubevoiceError
    keys: ApiKeyStore
    profiles: SpeechProfileStore
    jobs: JobStore
    job_items: JobItemStore
    audit: AuditStore
    quotas: Quotas
    draining: bool = False
    in_progress: int = 0
    ingesting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(INGESTING), repr=False)
    denials: Denials = field(init=False, repr=False)
    _info: EngineInfo | None = field(default=None, repr=False)
    _info_from: float = field(default=0.0, repr=False)
    _refresh: asyncio.Task[EngineInfo] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.denials = Denials(self.record)

    async def record(self, entry: Entry) -> None:
        """Write ``entry`` of the audit log in a thread; where the database does not take it that is counted."""
        if not await asyncio.to_thread(self.audit.record, entry):
            self.metrics.add(AUDIT_LOST, action=entry.action)

    @property
    def known_info(self) -> EngineInfo | None:
        """What the engine was when it was last asked; asks nothing."""
        return self._info

    async def info(self) -> EngineInfo:
        """What the engine is; only the first request, and the first after a silence, wait for it to say so."""
        if self._info is None:
            return await self._ask()
        age = time.monotonic() - self._info_from
        if age > INFO_TTL_S and (self._refresh is None or self._refresh.done()):
            self._refresh = asyncio.create_task(self._ask())
            self._refresh.add_done_callback(_forget_error)
        if age > INFO_OLD_S and self._refresh is not None:
            await asyncio.wait({self._refresh}, timeout=INFO_WAIT_S)
        return self._info

    async def _ask(self) -> EngineInfo:
        self._info = await self.engine.info()
        self._info_from = time.monotonic()
        return self._info


def _forget_error(task: asyncio.Task[EngineInfo]) -> None:
    """An engine that does not answer now is asked again by the next request."""
    if not task.cancelled():
        task.exception()


async def _context(request: Request) -> Context:  # a plain function would be called in a thread
    return cast("Context", request.app.state.context)


Ctx = Annotated[Context, Depends(_context)]
