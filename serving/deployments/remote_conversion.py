"""The conversion replicas behind a handle, as if they were one converter in this process."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from serving.deployments.admission import too_many
from serving.deployments.remote import HEARD_LATELY_S, asleep_or_ready, translated_errors
from serving.engines.base import Pcm
from serving.engines.conversion import ConversionOptions, ConversionVoice, ConversionVoiceFacts, VoiceConverter
from serving.engines.rvc.windows import Window
from serving.errors import Overloaded
from serving.logs import request_id

logger = logging.getLogger(__name__)

WHAT = "conversion"
AGAIN_S = 0.5
"""Pause before a window of a begun recording is offered again to replicas that were full."""


class RemoteConverter(VoiceConverter):
    """Calls an ``Rvc`` deployment, a window a call, at the replicas that have its voice in memory where they can.

    At most ``waiting_limit`` recordings wait for their first window; more are refused. A recording that has begun is
    never refused. A window whose replica dies is given to another, once.
    """

    def __init__(self, handle: DeploymentHandle[Any], waiting_limit: int) -> None:
        self._handle = handle
        self._waiting_limit = waiting_limit
        self._waiting = 0
        self._heard = -math.inf

    async def convert(self, window: Window, voice: ConversionVoice, options: ConversionOptions, seed: int) -> Pcm:
        if window.index == 0:
            with self._admitted():
                return await self._converted(window, voice, options, seed)
        while True:
            try:
                return await self._converted(window, voice, options, seed)
            except Overloaded:
                await asyncio.sleep(AGAIN_S)

    async def ingest(self, weights: Path, index: Path | None, directory: Path) -> ConversionVoiceFacts:
        with translated_errors(WHAT):
            facts = await self._call(self._handle.ingest.remote(weights, index, directory))
        return cast("ConversionVoiceFacts", facts)

    async def check(self) -> None:
        """Ready when a window has just come from a replica, when a replica says so, or when none is needed now."""
        if time.monotonic() - self._heard > HEARD_LATELY_S:
            with translated_errors(WHAT):
                await asleep_or_ready(self._handle)
            self._heard = time.monotonic()

    async def _converted(self, window: Window, voice: ConversionVoice, options: ConversionOptions, seed: int) -> Pcm:
        replicas = self._handle.options(multiplexed_model_id=voice.id)
        arguments = (window, voice, options, seed, request_id.get())
        with translated_errors(WHAT):
            try:
                pcm = await self._call(replicas.convert.remote(*arguments))
            except RayActorError:
                logger.warning("a conversion replica died at a window; trying another")
                pcm = await self._call(replicas.convert.remote(*arguments))
        self._heard = time.monotonic()
        return cast("Pcm", pcm)

    async def _call(self, response: Any) -> Any:
        """What a replica answers; its work ends when nobody waits for it any more."""
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self._waiting >= self._waiting_limit:
            raise too_many(WHAT)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
