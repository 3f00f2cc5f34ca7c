"""How many requests may wait for their first audio: as many as are heard within a bound on the wait, as measured."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from serving.errors import Overloaded

SMOOTHING = 0.2
"""Weight of the newest gap between two first audios: the estimate follows a change within about ten of them."""

ENTERING_S = 0.25
"""Longest that a request counts before it waits: one that sends its body slowly takes nobody's place for longer."""

MOST_RETRY_S = 60
"""Longest that a client is sent away for: after one long stall the estimate is of the past."""


class Gate:
    """Admits requests to the wait for their first audio.

    By Little's law whoever comes after ``waiting`` others is heard when that many have been, at the rate at which
    requests are heard while many wait. So ``max_wait_s`` times that rate may wait: never fewer than ``always``, which
    one replica takes at once, never more than ``most``. Until the rate was measured under load, ``most`` may.
    """

    def __init__(
        self, most: int, always: int = 1, max_wait_s: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._always, self._max_wait_s = most, min(always, most), max_wait_s
        self._clock = clock
        self._waiting = 0
        self._entering: deque[float] = deque()
        self._at_door = threading.Lock()
        self._gap_s: float | None = None
        self._gap_from = 0.0

    @property
    def limit(self) -> int:
        """Requests that may wait now."""
        if not self._gap_s:
            return self._most
        return max(self._always, int(min(self._most, self._max_wait_s / self._gap_s)))

    def refusal(self, what: str) -> Overloaded | None:
        """Why one more would be refused; None while there is room. ``what`` is what the replicas make."""
        return self._too_many(what) if self._waiting >= self.limit else None

    def _too_many(self, what: str) -> Overloaded:
        return too_many(what, min(MOST_RETRY_S, max(1, math.ceil(self._waiting * (self._gap_s or 0.0)))))

    @contextmanager
    def entering(self, what: str) -> Iterator[Overloaded | None]:
        """A request is on its way to ``waiting``: whoever comes meanwhile is refused as if it waited already.

        The block is given why this one is refused, or None. It may run in another thread than ``waiting``.
        """
        came = self._clock()
        with self._at_door:
            self._drop_slow_ones()
            refused = self._waiting + len(self._entering) >= self.limit
            if not refused:
                self._entering.append(came)
        if refused:
            yield self._too_many(what)
            return
        try:
            yield None
        finally:
            with self._at_door, suppress(ValueError):  # it waits, or is too old to count
                self._entering.remove(came)

    def _drop_slow_ones(self) -> None:
        while self._entering and self._entering[0] <= self._clock() - ENTERING_S:
            self._entering.popleft()

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Wait for the first audio: the block ends normally when it came. Raises Overloaded where there is no room."""
        with self._at_door:
            self._drop_slow_ones()
            if self._entering:
                self._entering.popleft()  # itself, or another that is on its way in its stead
        if refused := self.refusal(what):
            raise refused
        if self._waiting == 0:
            self._gap_from = self._clock()
        self._waiting += 1
        try:
            yield
            self._heard()
        finally:
            self._waiting -= 1

    def _heard(self) -> None:
        """A gap tells what the replicas can do only while enough wait; else it tells how rarely somebody asks."""
        now = self._clock()
        gap_s, self._gap_from = now - self._gap_from, now
        if self._waiting >= self._always:
            self._gap_s = gap_s if self._gap_s is None else self._gap_s + SMOOTHING * (gap_s - self._gap_s)


def too_many(what: str, retry_after_s: int = 1) -> Overloaded:
    """A refusal for now; ``what`` is what the replicas make."""
    return Overloaded(f"all {what} replicas are busy and the queue is full; try again shortly", retry_after_s)
