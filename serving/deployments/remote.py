"""The speech replicas behind a handle, as if they were one engine in this process."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, cast

from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from serving.deployments.admission import Gate, too_many
from serving.deployments.alive import Heard
from serving.engines.base import EngineInfo, SpeechChunk, SpeechRequest, SpeechService, Voice
from serving.engines.pace import estimated_s
from serving.engines.text import split_text
from serving.errors import EngineError, KubevoiceError, Overloaded, Unavailable
from serving.logs import request_id

logger = logging.getLogger(__name__)

SEGMENT_CHARS = 400
"""Longest piece of text in one call. Serve has no flow control, so a call's whole audio may pile up here: this bounds
it to about half a minute, twice (one piece is fetched ahead)."""

SEED_STRIDE = 4096

HEARD_LATELY_S = 5.0
"""Audio within this time proves that speech can be made."""


class RemoteSpeech(SpeechService):
    """Calls a ``Speech`` deployment: long texts in pieces, one retry when a replica dies, errors as ours.

    ``gate`` says how many requests may wait for their first audio; more are refused. One waits until its stream is
    asked for a second chunk. Once begun, a request is never refused: its further pieces take their turn, and so does
    one that is the rest of a text (``heard_in_s``).
    """

    def __init__(self, handle: DeploymentHandle[Any], gate: Gate) -> None:
        self._handle = handle
        self._gate = gate
        self._asleep = False
        self._heard = -math.inf
        self._info: EngineInfo | None = None

    async def info(self) -> EngineInfo:
        """What the replicas say; while there is none, what they said last. Starts one if nothing is known."""
        with translated_errors():
            try:
                self._info = common(await ask(self._handle, "info"))
            except DeploymentUnavailableError:
                if self._info is None:
                    self._info = await self._handle.info.remote()
        return cast("EngineInfo", self._info)

    async def prepare(self, voice: Voice) -> None:
        with translated_errors():
            await self._handle.prepare.remote(voice)

    async def similarity(self, voice: Voice) -> float | None:
        with translated_errors():
            return cast("float | None", await self._handle.similarity.remote(voice))

    async def check(self) -> None:
        """Ready when audio has just come from a replica, else when a replica says so, or when none is needed now."""
        self._asleep = False
        if time.monotonic() - self._heard <= HEARD_LATELY_S:
            return
        with translated_errors():
            self._asleep = await asleep_or_ready(self._handle)

    @property
    def asleep(self) -> bool:
        return self._asleep

    def refusal(self) -> Overloaded | None:
        return self._gate.refusal("speech")

    def entering(self) -> AbstractContextManager[Overloaded | None]:
        return self._gate.entering("speech")

    async def stream(self, request: SpeechRequest) -> AsyncGenerator[SpeechChunk, None]:
        if self._info is not None and request.revision is None:
            request = dataclasses.replace(request, revision=self._info.revision)
        pieces = [_Piece(self._handle, part) for part in split_request(request)]
        speaks: str | None = None
        runs_out = time.monotonic() + (request.heard_in_s or 0.0)  # the listener, who plays what comes at once
        try:
            for index, piece in enumerate(pieces):
                with ExitStack() as unheard:
                    if index == 0 and request.heard_in_s is None:
                        unheard.enter_context(self._gate.waiting("speech"))
                    chunk = await piece.first(runs_out if index else None)
                    while chunk is not None:
                        speaks = chunk.revision or speaks
                        self._heard = time.monotonic()
                        runs_out = max(runs_out, self._heard) + chunk.seconds
                        if index + 1 < len(pieces):
                            pieces[index + 1].meant_for(speaks)
                            pieces[index + 1].start(runs_out + max(0.0, piece.estimated_s - chunk.seconds))
                        yield chunk
                        unheard.close()  # whoever asks for more has encoded this: that may take as long under load
                        chunk = await piece.next()
        finally:
            for piece in pieces:
                piece.cancel()


async def ask(handle: DeploymentHandle[Any], method: str) -> list[Any]:
    """The answers of the replicas that have one. It goes past the calls that wait, so a busy deployment answers.

    Raises DeploymentUnavailableError without a replica, and what they raise if all do.
    """
    answers = await handle.broadcast(method).results_async(return_exceptions=True)
    good = [answer for answer in answers if not isinstance(answer, BaseException)]
    if not good:
        raise answers[0]
    return good


def common(answers: list[EngineInfo]) -> EngineInfo:
    """What can be said of all replicas: while a revision is taken up, the one that all had, and the presets of both."""
    slowest = next((answer for answer in answers if answer.pending is not None), answers[0])
    presets = tuple(name for name in slowest.presets if all(name in answer.presets for answer in answers))
    return dataclasses.replace(slowest, presets=presets or slowest.presets)


async def asleep_or_ready(handle: DeploymentHandle[Any]) -> bool:
    """Returns when a replica says that it is ready: False, or True at once when none runs because none is needed."""
    try:
        await ask(handle, "check")
    except DeploymentUnavailableError:
        if await asyncio.to_thread(scaled_to_zero, handle.app_name, handle.deployment_name):
            return True
        await handle.check.remote()
    return False


def scaled_to_zero(application: str, deployment: str) -> bool:
    """Whether a deployment without running replicas rests, or wakes up: not one that starts, fails or was killed.

    Blocks: it asks Ray Serve's controller.
    """
    overview = serve.status().applications.get(application)
    state = overview and overview.deployments.get(deployment)
    if not state:
        return False
    wanted = set(state.replica_states) - {"STOPPING"}
    return state.status.value in ("UPSCALING", "DOWNSCALING") or (state.status.value == "HEALTHY" and not wanted)


class _Piece:
    """One call of the deployment."""

    def __init__(self, handle: DeploymentHandle[Any], request: SpeechRequest) -> None:
        # By gRPC, which Serve's replicas speak among themselves: half the work of an object reference for each chunk.
        self._handle = handle.options(stream=True, _by_reference=False, response_serialization="pickle")
        self._request = request
        self._heard_at: float | None = None
        self._call: DeploymentResponseGenerator[Any] | None = None
        self._heard: Heard | None = None

    @property
    def estimated_s(self) -> float:
        return estimated_s(self._request.text, self._request.language, self._request.speed)

    def meant_for(self, revision: str | None) -> None:
        """A text ends with the model it began with, which may be another than was asked for; see SwappingEngine."""
        if revision is not None:
            self._request = dataclasses.replace(self._request, revision=revision)

    def start(self, heard_at: float | None) -> None:
        """Send the request to a replica unless that is done already; it is heard from ``heard_at`` on."""
        if self._call is not None:
            return
        request, self._heard_at = self._request, heard_at
        if heard_at is not None:
            request = dataclasses.replace(request, heard_in_s=max(0.0, heard_at - time.monotonic()))
        call = self._handle.stream.remote(request, request_id.get())
        self._call = cast("DeploymentResponseGenerator[Any]", call)
        self._heard = Heard(self._call)

    def cancel(self) -> None:
        """Stop the replica's work on this piece; nothing happens if it has ended."""
        if self._call is not None:
            with suppress(Exception):  # a call that was refused raises the refusal again
                self._call.cancel()  # type: ignore[no-untyped-call]

    async def first(self, heard_at: float | None) -> SpeechChunk | None:
        """The first chunk. A replica that dies before it is replaced by another, once."""
        with translated_errors():
            self.start(heard_at)
            try:
                return await self._advance()
            except RayActorError:
                logger.warning("a speech replica died before its first chunk; trying another")
                self.cancel()  # it may live, and only be out of reach
                self._call = None
                self.start(self._heard_at)
                return await self._advance()

    async def next(self) -> SpeechChunk | None:
        """The next chunk; None at the end."""
        with translated_errors():
            return await self._advance()

    async def _advance(self) -> SpeechChunk | None:
        assert self._heard is not None
        return await self._heard.next()


def split_request(request: SpeechRequest) -> list[SpeechRequest]:
    """``request`` in pieces of whole sentences; each has a seed of its own that follows from the request's."""
    packed = list(_pack(split_text(request.text, SEGMENT_CHARS)))
    speakable = [text for text in packed if any(map(str.isalnum, text))] or packed[:1]
    return [
        dataclasses.replace(
            request,
            text=text,
            seed=None if request.seed is None else _seed(request.seed, index),
        )
        for index, text in enumerate(speakable)
    ]


def _seed(seed: int, index: int) -> int:
    """Far enough apart that an engine may count up from it, a sentence at a time."""
    return (seed + index * SEED_STRIDE) % 2**32


def _pack(sentences: list[str]) -> Iterator[str]:
    packed = ""
    for sentence in sentences:
        if packed and len(packed) + 1 + len(sentence) > SEGMENT_CHARS:
            yield packed
            packed = sentence
        else:
            packed = f"{packed}\n{sentence}" if packed else sentence  # a line break keeps them apart for the engine
    if packed:
        yield packed


@contextmanager
def translated_errors(what: str = "speech") -> Iterator[None]:
    """Ray's errors as the ones of ``serving.errors``; ``what`` is what the replicas make."""
    try:
        yield
    except BackPressureError as error:
        raise too_many(what) from error
    except DeploymentUnavailableError as error:
        raise Unavailable(f"the {what} deployment is not up; see its replica's log") from error
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, KubevoiceError):
            raise cause from None
        raise EngineError(f"the engine failed: {type(cause).__name__}: {cause}") from error
    except RayActorError as error:
        raise EngineError(f"the {what} replica died at its work; try again", code="replica_died") from error
    except KubevoiceError:
        raise
    except Exception as error:  # a call by gRPC raises what the replica raised, as it is
        raise EngineError(f"the engine failed: {type(error).__name__}: {error}") from error
