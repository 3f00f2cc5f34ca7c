"""The speech replicas behind a handle, as if they were one engine in this process."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from serving.engines.base import EngineInfo, SpeechChunk, SpeechRequest, SpeechService, Voice
from serving.engines.text import split_text
from serving.errors import EngineError, KubevoiceError, Overloaded, Unavailable
from serving.logs import request_id

logger = logging.getLogger(__name__)

T = TypeVar("T")

SEGMENT_CHARS = 400
"""Longest piece of text in one call. Serve has no flow control, so a call's whole audio may pile up here: this bounds
it to about half a minute, twice (one piece is fetched ahead)."""


class RemoteSpeech(SpeechService):
    """Calls a ``Speech`` deployment: long texts in pieces, one retry when a replica dies, errors as ours."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def info(self) -> EngineInfo:
        return await self._call(self._handle.info.remote())

    async def prepare(self, voice: Voice) -> None:
        await self._call(self._handle.prepare.remote(voice))

    async def check(self) -> None:
        await self._call(self._handle.check.remote())

    async def stream(self, request: SpeechRequest) -> AsyncGenerator[SpeechChunk, None]:
        pieces = [_Piece(self._handle, part) for part in split_request(request)]
        try:
            for index, piece in enumerate(pieces):
                async for chunk in piece.chunks():
                    if index + 1 < len(pieces):
                        pieces[index + 1].start()
                    yield chunk
        finally:
            for piece in pieces:
                piece.cancel()

    async def _call(self, response: Awaitable[T]) -> T:
        with translated_errors():
            return await response


class _Piece:
    """One call of the deployment."""

    def __init__(self, handle: DeploymentHandle[Any], request: SpeechRequest) -> None:
        self._handle = handle.options(stream=True)
        self._request = request
        self._call: DeploymentResponseGenerator[Any] | None = None

    def start(self) -> DeploymentResponseGenerator[Any]:
        """Send the request to a replica unless that is done already."""
        if self._call is None:
            call = self._handle.stream.remote(self._request, request_id.get())
            self._call = cast("DeploymentResponseGenerator[Any]", call)
        return self._call

    def cancel(self) -> None:
        """Stop the replica's work on this piece; nothing happens if it has ended."""
        if self._call is not None:
            with suppress(Exception):  # a call that was refused raises the refusal again
                self._call.cancel()  # type: ignore[no-untyped-call]

    async def chunks(self) -> AsyncIterator[SpeechChunk]:
        """The piece's audio. A replica that dies before its first chunk is replaced by another, once."""
        with translated_errors():
            try:
                first = await anext(self.start(), None)
            except RayActorError:
                logger.warning("a speech replica died before its first chunk; trying another")
                self._call = None
                first = await anext(self.start(), None)
            if first is None:
                return
            yield first
            async for chunk in self.start():
                yield chunk


def split_request(request: SpeechRequest) -> Iterator[SpeechRequest]:
    """``request`` in pieces of whole sentences; each has a seed of its own that follows from the request's."""
    for index, text in enumerate(_pack(split_text(request.text, SEGMENT_CHARS))):
        seed = None if request.seed is None else (request.seed + index) % 2**32
        yield dataclasses.replace(request, text=text, seed=seed)


def _pack(sentences: list[str]) -> Iterator[str]:
    packed = ""
    for sentence in sentences:
        if packed and len(packed) + 1 + len(sentence) > SEGMENT_CHARS:
            yield packed
            packed = sentence
        else:
            packed = f"{packed} {sentence}" if packed else sentence
    if packed:
        yield packed


@contextmanager
def translated_errors() -> Iterator[None]:
    """Ray's errors as the ones of ``serving.errors``."""
    try:
        yield
    except BackPressureError as error:
        raise Overloaded("all speech replicas are busy and the queue is full; try again shortly", 1) from error
    except DeploymentUnavailableError as error:
        raise Unavailable("the speech deployment is not up; see its replica's log") from error
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, KubevoiceError):
            raise cause from None
        raise EngineError(f"the engine failed: {type(cause).__name__}: {cause}") from error
    except RayActorError as error:
        raise EngineError("the speech replica died while it spoke; try again") from error
