"""The lines of a log as a response that holds a piece of it at a time."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Generator

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from serving.api.launching import THREADS, launching

PIECE_BYTES = 64 * 1024


class LogPieces:
    """Reads lines in other threads, one piece at a time: the next one when the client has taken the one before."""

    def __init__(self, lines: Generator[str, None, None]) -> None:
        self._lines = lines
        self._lock = threading.Lock()

    def next(self) -> bytes:
        """About ``PIECE_BYTES``, whole lines; empty at the end. Raises what reading raises."""
        piece = bytearray()
        with self._lock:
            for line in self._lines:
                piece += f"{line}\n".encode()
                if len(piece) >= PIECE_BYTES:
                    break
        return bytes(piece)

    def close(self) -> None:
        """Let go of the log."""
        with self._lock:
            self._lines.close()


class LogSoFar(StreamingResponse):
    """``first`` and the rest of ``pieces``, which are closed however the response ends."""

    def __init__(self, first: bytes, pieces: LogPieces) -> None:
        self._pieces = pieces
        super().__init__(self._all(first), media_type="text/plain; charset=utf-8")

    async def _all(self, piece: bytes) -> AsyncIterator[bytes]:
        while piece:
            yield piece
            piece = await launching(self._pieces.next)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            THREADS.submit(self._pieces.close)  # not awaited: a piece may be read right now
