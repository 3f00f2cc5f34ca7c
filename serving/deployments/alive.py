"""Signs of life in a stream from a replica, so that a node that vanishes is noticed.

A replica that dies breaks its connections. One whose node loses its power or its network breaks none: by gRPC its calls
end when the connection's keepalive gives up, after five minutes and more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Final

import grpc  # type: ignore[import-untyped]
from ray.exceptions import ActorUnavailableError

from serving.engines.base import SpeechChunk

EVERY_S = 5.0
"""Longest time between two things that a replica at work says."""

SILENT_S = 60.0
"""A replica that has begun and says nothing for so long is gone. Serve itself takes 36 s to find it unhealthy."""

_END: Final = object()


async def with_signs(
    chunks: AsyncGenerator[SpeechChunk, None], every_s: float = EVERY_S
) -> AsyncGenerator[SpeechChunk | None, None]:
    """``chunks`` with None among them: at once, as the request has been taken up, and wherever ``every_s`` go by.

    Closes ``chunks`` in any case.
    """
    coming: asyncio.Task[object] | None = None
    try:
        yield None
        while True:
            coming = coming or asyncio.ensure_future(_next(chunks))
            await asyncio.wait({coming}, timeout=every_s)
            if not coming.done():
                yield None
                continue
            chunk, coming = coming.result(), None
            if not isinstance(chunk, SpeechChunk):
                return
            yield chunk
    finally:
        if coming is not None:
            coming.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await coming
        await chunks.aclose()


class Heard:
    """The chunks of a call whose replica sends what ``with_signs`` yields."""

    def __init__(self, call: AsyncIterator[SpeechChunk | None], silent_s: float = SILENT_S) -> None:
        self._call = call
        self._silent_s = silent_s
        self._begun = False

    async def next(self) -> SpeechChunk | None:
        """The next chunk; None at the end. Raises ActorUnavailableError for a replica that cannot be reached any more.

        A call waits for as long as it takes until a replica takes it up: all may be busy.
        """
        while True:
            try:
                async with asyncio.timeout(self._silent_s if self._begun else None) as patience:
                    item = await anext(self._call, _END)
            except TimeoutError:
                if not patience.expired():
                    raise  # the replica's own
                raise ActorUnavailableError(f"the replica said nothing for {self._silent_s:g} s", None) from None
            except grpc.aio.AioRpcError as error:  # Ray translates only the most frequent one
                raise ActorUnavailableError(f"the call broke: {error.code()}", None) from error
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                raise ActorUnavailableError("the replica stopped its work", None) from None
            self._begun = True
            if item is _END:
                return None
            if isinstance(item, SpeechChunk):
                return item


async def _next(chunks: AsyncGenerator[SpeechChunk, None]) -> object:
    return await anext(chunks, _END)
