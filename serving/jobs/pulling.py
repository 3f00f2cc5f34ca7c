"""What the loops over the database have in common: how they look for work, and how they end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Generic, TypeVar

from serving.errors import KubevoiceError

logger = logging.getLogger(__name__)

Work = TypeVar("Work")

IDLE_S = 0.5
"""Between two looks for work where there was none."""

FAULT_S = 2.0
"""Until the database is tried again."""


class Pulling(Generic[Work]):
    """Tasks that go on for ever and take their work from ``claim``; ``release`` gives back what nobody does.

    Both are called in threads.
    """

    def __init__(self, claim: Callable[[], Work | None], release: Callable[[Work], object]) -> None:
        self._claim = claim
        self._release = release
        self._looking = asyncio.Lock()
        self._again = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def run(self, *parts: Coroutine[None, None, None]) -> None:
        """Begin with ``parts``, on the running event loop."""
        self._tasks = [asyncio.create_task(part) for part in parts]

    @property
    def failure(self) -> BaseException | None:
        """What ended a part that should go on for ever: a bug."""
        ended = [task for task in self._tasks if task.done() and not task.cancelled()]
        return next((task.exception() for task in ended), None)

    async def close(self) -> None:
        """Stop; the parts give back what they work on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def look_again(self) -> None:
        """Look at once, where nobody would until the next time: what could not be taken before may be free now."""
        self._again.set()

    async def next(self) -> Work:
        """The next piece of work; one task looks at a time, so that idle ones do not all ask the database."""
        async with self._looking:
            while True:
                self._again.clear()  # before the look: what is said during it counts
                try:
                    work = await self._look()
                except KubevoiceError as error:
                    logger.warning("no work can be taken up: %s", error)
                    await asyncio.sleep(FAULT_S)
                    continue
                if work is not None:
                    return work
                with suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_S):
                        await self._again.wait()

    async def _look(self) -> Work | None:
        """What ``claim`` takes. Its thread goes on where this is cancelled: what it takes then is given back."""
        look = asyncio.create_task(asyncio.to_thread(self._claim))
        try:
            return await asyncio.shield(look)
        except asyncio.CancelledError:
            with suppress(KubevoiceError):  # else its lease ends by itself
                if (work := await look) is not None:
                    await asyncio.to_thread(self._release, work)
            raise
