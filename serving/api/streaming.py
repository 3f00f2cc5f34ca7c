"""From an engine's chunks to bytes on the wire, while they are made."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass

from serving.api.errors import error_body
from serving.audio.encode import Encoder
from serving.engines.base import SpeechChunk
from serving.errors import InvalidRequest, KubevoiceError
from serving.metrics import AUDIO_SECONDS, BROKEN, CANCELLED, FIRST_AUDIO, REAL_TIME_FACTOR, Metrics

logger = logging.getLogger(__name__)


@dataclass
class Usage:
    """What a stream has used so far."""

    input_tokens: int = 0
    output_tokens: int = 0
    audio_s: float = 0.0
    engine_s: float = 0.0


class AudioStream:
    """Encodes ``chunks`` into ``format`` as they come.

    ``open()`` waits for the first bytes, so that an engine's error is still a status code; ``audio()`` or ``events()``
    then yields everything. Leaving either closes the engine's generator, which stops its work.
    """

    def __init__(
        self, chunks: AsyncGenerator[SpeechChunk, None], audio_format: str, model: str, metrics: Metrics
    ) -> None:
        self.usage = Usage()
        self._chunks = chunks
        self._encoder = Encoder(audio_format)
        self._labels = {"model": model, "format": audio_format}
        self._metrics = metrics
        self._first = b""
        self._finished = False
        self._began = time.perf_counter()

    async def open(self) -> None:
        """Wait for the first bytes; raises what the engine raises before it made any, InvalidRequest for silence."""
        try:
            self._first = await self._next()
            if not self.usage.audio_s:
                raise InvalidRequest("input has nothing that can be spoken", param="input")
        except BaseException:
            await self.close()
            raise
        self._metrics.observe(FIRST_AUDIO, time.perf_counter() - self._began, **self._labels)

    def audio(self) -> AsyncIterator[bytes]:
        """The file's bytes. A failure after the first byte breaks the connection: there is no other sign in HTTP."""
        return self._emit(lambda data: data, lambda: b"", None)

    def events(self) -> AsyncIterator[bytes]:
        """Server-sent events: speech.audio.delta ..., then speech.audio.done with the usage, or an error event."""
        return self._emit(_delta, self._done, _failure)

    async def close(self) -> None:
        """Stop the engine's work for this stream and free the encoder."""
        await self._chunks.aclose()
        self._encoder.close()

    async def _emit(
        self,
        wrap: Callable[[bytes], bytes],
        ending: Callable[[], bytes],
        failure: Callable[[KubevoiceError], bytes] | None,
    ) -> AsyncIterator[bytes]:
        try:
            data = self._first
            while data:
                yield wrap(data)
                data = await self._next()
            if end := ending():
                yield end
            self._complete()
        except (GeneratorExit, asyncio.CancelledError):
            self._metrics.add(CANCELLED, model=self._labels["model"])
            raise
        except KubevoiceError as error:
            self._metrics.add(BROKEN, model=self._labels["model"])
            logger.error("speech stream broke after its first byte: %s", error)
            if failure is None:
                raise
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
                return await asyncio.to_thread(self._encoder.finish)
            self.usage.input_tokens += chunk.input_tokens
            self.usage.output_tokens += chunk.output_tokens
            self.usage.audio_s += chunk.seconds
            data = await asyncio.to_thread(self._encoder.encode, chunk.pcm, chunk.sample_rate)
            if data:
                return data
        return b""

    def _complete(self) -> None:
        self._metrics.add(AUDIO_SECONDS, self.usage.audio_s, **self._labels)
        factor = self.usage.engine_s / max(self.usage.audio_s, 1e-3)
        self._metrics.observe(REAL_TIME_FACTOR, factor, model=self._labels["model"])

    def _done(self) -> bytes:
        tokens = {
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "total_tokens": self.usage.input_tokens + self.usage.output_tokens,
        }
        return _event({"type": "speech.audio.done", "usage": tokens})


def _delta(data: bytes) -> bytes:
    return _event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})


def _failure(error: KubevoiceError) -> bytes:
    return _event({"type": "error", **error_body(error.status, error.message, error.param, error.code)})


def _event(body: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"
