"""What was used of quotas lately: in this process, or in a Redis that all ingress replicas share.

Counted by `limits`' sliding window counter: two numbers a window, where its moving window keeps an entry for every
character. A window that has passed counts by what of it still overlaps the last minute or day.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from serving.metrics import QUOTAS_UNCOUNTED, Metrics

logger = logging.getLogger(__name__)

PREFIX = "kubevoice-quota"
"""What the names of all keys in Redis begin with."""

TIMEOUT_S = 0.5
"""How long Redis may take to answer; without an answer the request goes on uncounted."""

CONNECTIONS = 16
"""Most connections of one ingress replica to Redis; a question takes it a fraction of a millisecond."""

AWAY_S = 5.0
"""How long Redis is not asked again after it did not answer."""

NO_LIMIT = 10**15

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Counter:
    """What is counted under ``key``, in a window of ``seconds``."""

    key: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Used:
    """The window before this one and the present one: what was counted, and seconds until it counts no more."""

    window_s: int
    previous: int = 0
    previous_s: float = 0.0
    current: int = 0
    current_s: float = 0.0

    @property
    def count(self) -> int:
        return int(self.previous * self.previous_s / self.window_s) + self.current

    @property
    def reset_s(self) -> float:
        """Seconds until nothing counts any more."""
        return self.current_s if self.current > 0 else self.previous_s if self.previous > 0 else 0.0

    def wait_s(self, room: int) -> float:
        """Seconds until at most ``room`` counts: windows lose their weight evenly, and only whole units of it count."""
        if self.count <= room:
            return 0.0
        if self.current <= room:
            return self.previous_s - self.window_s * (room + 1 - self.current) / self.previous
        until_previous = max(0.0, self.current_s - self.window_s)
        return until_previous + self.window_s * (1 - (room + 1) / self.current)


class _Window(RateLimitItemPerSecond):
    """Names the counter alone: another limit goes on with what was counted under the old one."""

    def key_for(self, *identifiers: bytes | str | float) -> str:
        return "/".join(map(str, identifiers))


class Counters:
    """Counters in the Redis at ``redis_url``, else in this process. Without an answer nothing is refused."""

    def __init__(self, metrics: Metrics, redis_url: str | None = None) -> None:
        self._metrics = metrics
        self._away_until = 0.0
        self._pool = None if redis_url is None else _pool(redis_url)
        self._storage: MemoryStorage | RedisStorage = (
            MemoryStorage()
            if self._pool is None
            else RedisStorage(
                f"async+{redis_url}", implementation="redispy", key_prefix=PREFIX, connection_pool=self._pool
            )
        )
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        self._errors: tuple[type[Exception], ...] = (OSError, TimeoutError)
        if redis_url is not None:
            from redis.exceptions import RedisError

            self._errors = (OSError, TimeoutError, RedisError)

    async def hit(self, counter: Counter, limit: int, cost: int) -> bool:
        """Count ``cost`` unless that would be more than ``limit``: then nothing, and False."""
        window = _Window(limit, counter.seconds)
        return await self._answer(lambda: self._limiter.hit(window, counter.key, cost=cost), otherwise=True)

    async def add(self, counter: Counter, amount: int) -> None:
        """Count ``amount`` whatever is there."""
        window = _Window(NO_LIMIT, counter.seconds)
        await self._answer(lambda: self._limiter.hit(window, counter.key, cost=amount), otherwise=True)

    async def give_back(self, counter: Counter, amount: int) -> None:
        """Count ``amount`` less, as far as this window has it: what was counted in the one before fades by itself."""
        used = await self.used(counter)
        if (less := min(amount, used.current)) > 0:
            await self.add(counter, -less)

    async def used(self, counter: Counter) -> Used:
        async def ask() -> Used:
            return Used(counter.seconds, *await self._storage.get_sliding_window(counter.key, counter.seconds))

        return await self._answer(ask, otherwise=Used(counter.seconds))

    async def close(self) -> None:
        """Close the connections to Redis; later questions open new ones."""
        if self._pool is not None:
            await self._pool.disconnect()

    async def _answer(self, ask: Callable[[], Awaitable[T]], *, otherwise: T) -> T:
        if time.monotonic() >= self._away_until:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    return await ask()
            except self._errors as error:
                self._away_until = time.monotonic() + AWAY_S
                logger.warning("quotas are not counted for %g s: Redis does not answer: %s", AWAY_S, error)
        self._metrics.add(QUOTAS_UNCOUNTED, store="redis")
        return otherwise


def _pool(url: str) -> Any:
    from redis.asyncio import BlockingConnectionPool
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        socket_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
