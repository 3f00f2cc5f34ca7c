"""Changes that were denied, as the audit log keeps them: however often somebody tries, they make few rows."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from serving.store.audit import Entry

WINDOW_S = 60.0
ROWS = 10
"""Denied requests of a kind by one key in one window that have a row each; the rest share one, at its end."""

_Key = tuple[str, str, tuple[str, str]]


@dataclass
class _Window:
    timer: asyncio.TimerHandle
    count: int = 0
    last: Entry | None = None


class Denials:
    """Counts the denied requests of each tenant, actor and kind in windows of ``window_s`` seconds, by this process.

    A kind is a method and the path of an access rule: who is denied often at one thing does not hide another.
    """

    def __init__(self, write: Callable[[Entry], Coroutine[Any, Any, None]], window_s: float = WINDOW_S) -> None:
        self._write, self._window_s = write, window_s
        self._windows: dict[_Key, _Window] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def note(self, entry: Entry, kind: tuple[str, str]) -> None:
        """Write ``entry``, or count it if its actor has often been denied what is of that kind (``access.kind``)."""
        key = (entry.tenant, entry.actor, kind)
        if key not in self._windows:
            own = contextvars.Context()  # the last line of a minute is not about the request that began it
            timer = asyncio.get_running_loop().call_later(self._window_s, self._close, key, context=own)
            self._windows[key] = _Window(timer)
        window = self._windows[key]
        window.count += 1
        if window.count <= ROWS:
            await self._write(entry)
        else:
            window.last = entry

    async def flush(self) -> None:
        """End all windows now and wait until what they and those before counted is written: for a process's end."""
        for key, window in list(self._windows.items()):
            window.timer.cancel()
            self._close(key)
        if self._closing:
            await asyncio.wait(self._closing)

    def _close(self, key: _Key) -> None:
        window = self._windows.pop(key)
        if window.last is not None:
            detail = {**window.last.detail, "count": window.count - ROWS}
            task = asyncio.create_task(self._write(replace(window.last, detail=detail)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
