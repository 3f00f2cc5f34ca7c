"""From an engine's chunks to bytes on the wire, while they are made."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import ParamSpec

from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from serving.api.errors import INTERNAL_ERROR, StreamBrokenError, error_body
from serving.api.quotas import Charge
from serving.audio.encode import OUTPUT_RATE, Encoder
from serving.engines.base import SpeechChunk
from serving.errors import EngineError, InvalidRequest, KubevoiceError
from serving.metrics import AUDIO_SECONDS, BROKEN, CANCELLED, CUT, FIRST_AUDIO, REAL_TIME_FACTOR, Metrics

logger = logging.getLogger(__name__)

P = ParamSpec("P")


def _give_way() -> None:
    """Lower the calling thread's priority where that can be done for one thread alone, which is on Linux."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + GIVES_WAY)


GIVES_WAY = 5
"""Steps of niceness: a third of the share of a thread beside it that wants the same core."""

ENCODERS = ThreadPoolExecutor(4, thread_name_prefix="encode", initializer=_give_way)
"""Threads for encoding only: a slow database or upload must not silence the streams. They give way to the event loop,
which has little to do for a request but all of it at once: a refusal must not wait for an encoder."""


@dataclass
class Usage:
    """What a stream has used so far."""

    input_tokens: int = 0
    output_tokens: int = 0
    audio_s: float = 0.0
    engine_s: float = 0.0
    cut: int = 0
    """Sentences that the engine cut because they did not end by themselves."""


class Ending(Enum):
    """How a stream came to its end; until it is known, the client has left."""

    LEFT = "left"
    COMPLETE = "complete"
    REFUSED = "refused"
    BROKEN = "broken"


class AudioStream:
    """Encodes ``chunks`` into ``audio_format`` as they come, at ``sample_rate`` Hz, which that format takes.

    ``began`` is when the request did, by ``perf_counter``; ``charge`` is told of the audio, and of a refusal.

    ``open()`` waits for the first bytes, so that an engine's error is still a status code; ``audio()`` or ``events()``
    then yields everything. ``close()`` ends the engine's generator, which stops its work; call it in any case.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[SpeechChunk, None],
        audio_format: str,
        model: str,
        metrics: Metrics,
        began: float | None = None,
        sample_rate: int = OUTPUT_RATE,
        bit_rate: int = 0,
        charge: Charge | None = None,
    ) -> None:
        self.usage = Usage()
        self.revision: str | None = None
        """Of the model that speaks, from the first chunk if that tells."""
        self._chunks = chunks
        self._encoder = Encoder(audio_format, sample_rate, bit_rate)
        self._labels = {"model": model, "format": audio_format}
        self._metrics = metrics
        self._first = b""
        self._finished = self._closed = False
        self._ending = Ending.LEFT
        self._began = time.perf_counter() if began is None else began
        self._charge = charge

    async def open(self) -> None:
        """Wait for the first bytes; raises what the engine raises before it made any, InvalidRequest for silence."""
        try:
            self._first = await self._next()
            if not self.usage.audio_s:
                raise InvalidRequest("input has nothing that can be spoken", param="input")
        except BaseException as error:
            if isinstance(error, Exception):
                self._ending = Ending.REFUSED
                if self._charge is not None:
                    self._charge.give_back()
            await self.close()
            raise
        self._metrics.observe(FIRST_AUDIO, time.perf_counter() - self._began, **self._labels)
        for early_end in (BROKEN, CANCELLED, CUT):  # a rate sees the first of them only after a zero
            self._metrics.add(early_end, 0.0, model=self._labels["model"])

    async def open_for(self, receive: Receive) -> None:
        """Like ``open()``, but raises ClientDisconnect, and stops the work, as soon as the client has left."""
        opening = asyncio.create_task(self.open())
        leaving = asyncio.create_task(_disconnect(receive))
        try:
            await asyncio.wait((opening, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                raise ClientDisconnect
            opening.result()
        finally:
            opening.cancel()
            leaving.cancel()
            await asyncio.gather(opening, leaving, return_exceptions=True)

    def audio(self) -> AsyncGenerator[bytes, None]:
        """The file's bytes. A failure after the first byte breaks the connection: there is no other sign in HTTP."""
        return self._emit(lambda data: data, lambda: b"", None)

    def events(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events: speech.audio.delta ..., then speech.audio.done with the usage, or an error event."""
        return self._emit(_delta, self._done, _failure)

    async def close(self) -> None:
        """Stop the engine's work for this stream and free the encoder; may be called again."""
        if not self._closed:
            self._closed = True
            self._record()
        try:
            await self._chunks.aclose()
        finally:
            self._encoder.close()

    async def _emit(
        self,
        wrap: Callable[[bytes], bytes],
        ending: Callable[[], bytes],
        failure: Callable[[Exception], bytes] | None,
    ) -> AsyncGenerator[bytes, None]:
        try:
            data = self._first
            while data:
                yield wrap(data)
                data = await self._next()
            self._ending = Ending.COMPLETE
            if end := ending():
                yield end
        except Exception as error:
            self._ending = Ending.BROKEN
            unexpected = not isinstance(error, KubevoiceError)
            logger.error("speech stream broke after its first byte: %s", error, exc_info=unexpected)
            if failure is None:
                raise StreamBrokenError(str(error)) from None
            yield failure(error)
        finally:
            await self.close()

    async def _next(self) -> bytes:
        """The next bytes that are ready to leave; empty at the end."""
        while not self._finished:
            asked = time.perf_counter()
            chunk = await anext(self._chunks, None)
            self.usage.engine_s += time.perf_counter() - asked
            if chunk is None:
                self._finished = True
                return await _encoding(self._encoder.finish)
            self.revision = self.revision or chunk.revision
            self.usage.input_tokens += chunk.input_tokens
            self.usage.output_tokens += chunk.output_tokens
            self.usage.audio_s += chunk.seconds
            self.usage.cut += chunk.finish_reason == "length"
            if self._charge is not None:
                self._charge.made(self.usage.audio_s)
            if self._encoder.is_light(chunk.pcm, chunk.sample_rate):
                data = self._encoder.encode(chunk.pcm, chunk.sample_rate)
                await asyncio.sleep(0)  # other streams have their turn, and a client that has left is noticed
            else:
                data = await _encoding(self._encoder.encode, chunk.pcm, chunk.sample_rate)
            if data:
                return data
        return b""

    def _record(self) -> None:
        model = self._labels["model"]
        if self._charge is not None:
            self._charge.made(self.usage.audio_s, ended=True)
        self._metrics.add(AUDIO_SECONDS, self.usage.audio_s, **self._labels)
        if self.usage.cut:
            self._metrics.add(CUT, self.usage.cut, model=model)
        if self._ending is Ending.COMPLETE:
            self._metrics.observe(REAL_TIME_FACTOR, self.usage.engine_s / self.usage.audio_s, model=model)
        elif self._ending is Ending.LEFT:
            self._metrics.add(CANCELLED, model=model)
        elif self._ending is Ending.BROKEN:
            self._metrics.add(BROKEN, model=model)

    def _done(self) -> bytes:
        tokens = {
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "total_tokens": self.usage.input_tokens + self.usage.output_tokens,
        }
        reason = "length" if self.usage.cut else "stop"
        return _event({"type": "speech.audio.done", "usage": tokens, "finish_reason": reason})


class SpeechResponse(StreamingResponse):
    """Sends ``content``, which comes from ``stream``, and closes both however the response ends.

    Starlette leaves a generator whose client is gone to the garbage collector.
    """

    def __init__(
        self, stream: AudioStream, content: AsyncGenerator[bytes, None], media_type: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        self._stream = stream
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._content.aclose()
            await self._stream.close()  # the generator does it too, unless it never began


async def _encoding(function: Callable[P, bytes], *args: P.args, **kwargs: P.kwargs) -> bytes:
    call = functools.partial(function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(ENCODERS, call)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _delta(data: bytes) -> bytes:
    return _event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})


def _failure(error: Exception) -> bytes:
    known = error if isinstance(error, KubevoiceError) else EngineError(INTERNAL_ERROR)
    return _event({"type": "error", **error_body(known.status, known.message, known.param, known.code)})


def _event(body: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"
