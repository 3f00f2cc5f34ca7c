"""What a replica does beside its requests, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Background:
    """Tasks that go on for as long as their replica.

    They have to end before it does: the threads and connections that they work with end first, which would look like
    failures.
    """

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *parts: Coroutine[Any, Any, None]) -> None:
        """Begin with ``parts``, on the running event loop."""
        self._tasks += [asyncio.create_task(part) for part in parts]

    async def close(self) -> None:
        """Cancel what goes on, and wait until it has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
