"""Bytes on their way from an event loop to a thread that reads them as a file."""

from __future__ import annotations

import asyncio
import threading

CAPACITY = 256 * 1024
"""Bytes that may wait: a minute of MP3, two seconds of the best WAV."""


class BytePipe:
    """``write`` and ``finish`` belong to the event loop that made it, ``read`` to one thread."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._arrived = threading.Condition()
        self._buffer = bytearray()
        self._ended = self._closed = False
        self.error: BaseException | None = None
        """Why no more will come, when that is a failure; ``read`` raises it behind the bytes that did come."""

    async def write(self, data: bytes) -> None:
        """Hand ``data`` over, then wait until there is room for more. Bytes that nobody will read are dropped."""
        if self._closed:
            return
        with self._arrived:
            self._buffer += data
            self._arrived.notify()
        while len(self._buffer) >= self._capacity and not self._closed:
            self._room.clear()
            if len(self._buffer) >= self._capacity:
                await self._room.wait()

    def finish(self, error: BaseException | None = None) -> None:
        """No more comes."""
        with self._arrived:
            self._ended, self.error = True, error
            self._arrived.notify()

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes as soon as there are any; none at the end. Raises ``error``."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._buffer or self._ended)
            taken = bytes(self._buffer[:size] if size >= 0 else self._buffer)
            del self._buffer[: len(taken)]
            error = None if taken else self.error
        self._loop.call_soon_threadsafe(self._room.set)
        if error is not None:
            raise error
        return taken

    def close(self) -> None:
        """Nobody reads any more: the reading thread, if it waits, comes to the end; who writes does not wait."""
        with self._arrived:
            self._closed = self._ended = True
            self._buffer.clear()
            self._arrived.notify()
        self._room.set()
