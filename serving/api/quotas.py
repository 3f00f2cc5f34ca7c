"""Quotas: how many requests, characters and seconds of audio a tenant and a key may use. The one place that decides."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from serving.api.caller import current, tenant
from serving.api.quota_counters import Counter, Counters
from serving.errors import KubevoiceError, PayloadTooLarge, QuotaExceeded
from serving.metrics import Metrics
from serving.settings_groups import QUOTAS, QuotaSettings

SECONDS = {"minute": 60, "day": 86400}

AUDIO_UNIT = 1000
"""Audio is counted in milliseconds."""

REPORT_AUDIO_S = 5.0
"""A stream's audio is charged each time that this much more was made, and at its end."""


@dataclass(frozen=True, slots=True)
class Quota:
    """At most ``limit`` of what ``name`` says, for ``owner``: ``tenant/<name>`` or ``key/<id>``."""

    name: str
    limit: int
    owner: str

    @property
    def unit(self) -> str:
        return self.name.partition("_per_")[0]

    @property
    def window(self) -> str:
        return self.name.partition("_per_")[2]

    @property
    def counter(self) -> Counter:
        return Counter(f"{self.owner}/{self.name}", SECONDS[self.window])

    def __str__(self) -> str:
        unit = self.unit.replace("_", " ").replace("audio seconds", "seconds of audio")
        return f"your {self.owner.partition('/')[0]}'s quota of {self.limit:,} {unit} a {self.window} ({self.name})"


class Quotas:
    """What the settings allow each tenant, and keys their own; ``metrics`` count where that cannot be counted."""

    def __init__(self, settings: QuotaSettings, metrics: Metrics) -> None:
        self._limits = {name: limit for name in QUOTAS if (limit := getattr(settings, name)) is not None}
        url = settings.redis_url
        self._counters = Counters(metrics, None if url is None else url.get_secret_value())
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(
        self, scope: Scope, *, characters: int = 0, param: str = "input", background: bool = False
    ) -> Charge:
        """Charge a request and its text, all or nothing, before any work; ``scope`` gets the headers about it.

        ``background``: its pace is ours and its audio is not counted, so that only requests and a day's characters are.
        Raises QuotaExceeded, and PayloadTooLarge naming ``param`` for a text that is larger than a quota.
        """
        quotas = [each for each in self._all() if not background or each.unit == "requests" or _is_days_text(each)]
        charge = Charge(self, quotas, param)
        try:
            await charge.pay(requests=1, characters=characters)
        finally:
            headers = await self._headers([each for each in quotas if each.unit == "requests"])
            if headers:
                scope["quota_headers"] = headers
        return charge

    async def charge(self, quotas: Sequence[Quota], costs: dict[str, int], param: str) -> None:
        """Count ``costs``, by unit, in all of ``quotas``, or in none and raise."""
        for quota in quotas:
            if quota.unit == "characters" and costs.get("characters", 0) > quota.limit:
                raise PayloadTooLarge(
                    f"{param} has {costs['characters']:,} characters, more than {quota} ever allows at once; split it",
                    param,
                    "larger_than_quota",
                )
        for quota in quotas:
            if quota.unit == "audio_seconds":
                used = await self._counters.used(quota.counter)
                if used.count >= quota.limit * AUDIO_UNIT:
                    raise _exceeded(quota, used.wait_s(quota.limit * AUDIO_UNIT - 1), 0)
        paid: list[tuple[Quota, int]] = []
        for quota in quotas:
            if not (cost := costs.get(quota.unit, 0)):
                continue
            if not await self._counters.hit(quota.counter, quota.limit, cost):
                used = await self._counters.used(quota.counter)
                for other, amount in paid:
                    await self._counters.give_back(other.counter, amount)
                raise _exceeded(quota, used.wait_s(quota.limit - cost), max(0, quota.limit - used.count))
            paid.append((quota, cost))

    def later(self, quotas: Sequence[Quota], amount: int) -> None:
        """Count ``amount`` in ``quotas`` without waiting for it: the end of a stream must not hang on Redis."""
        for quota in quotas:
            self._begin(self._counters.add(quota.counter, amount))

    def give_back_later(self, quotas: Sequence[Quota], amount: int) -> None:
        """Count ``amount`` less in ``quotas``, without waiting for it."""
        for quota in quotas:
            self._begin(self._counters.give_back(quota.counter, amount))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _all(self) -> Iterator[Quota]:
        """The quotas of this request: of its key, if that has any, and of its tenant."""
        caller = current.get()
        if caller is not None:
            yield from (Quota(name, limit, f"key/{caller.key_id}") for name, limit in caller.limits.items())
        yield from (Quota(name, limit, f"tenant/{tenant()}") for name, limit in self._limits.items())

    async def _headers(self, quotas: Sequence[Quota]) -> dict[str, str]:
        """What OpenAI's clients read, about the quota of requests that has the fewest left."""
        found = [(quota, await self._counters.used(quota.counter)) for quota in quotas]
        if not found:
            return {}
        quota, used = min(found, key=lambda each: each[0].limit - each[1].count)
        return {
            "X-RateLimit-Limit-Requests": str(quota.limit),
            "X-RateLimit-Remaining-Requests": str(max(0, quota.limit - used.count)),
            "X-RateLimit-Reset-Requests": duration(used.reset_s),
        }


class Charge:
    """What one request has used."""

    def __init__(self, owner: Quotas, quotas: Sequence[Quota], param: str) -> None:
        self._owner, self._quotas, self._param = owner, quotas, param
        self._requests = self._characters = self._charged_ms = 0

    async def pay(self, *, requests: int = 0, characters: int) -> None:
        """Charge text that arrives. Raises as ``Quotas.take``."""
        await self._owner.charge(self._quotas, {"requests": requests, "characters": characters}, self._param)
        self._requests += requests
        self._characters += characters

    def give_back(self) -> None:
        """Its characters, for a request that failed before its first byte; it stays counted as a request."""
        self._owner.give_back_later(self._of("characters"), self._characters)
        self._characters = 0

    def undo(self) -> None:
        """All of it, for a request that was sent twice at once and is charged by its twin."""
        self._owner.give_back_later(self._of("requests"), self._requests)
        self._requests = 0
        self.give_back()

    def made(self, audio_s: float, *, ended: bool = False) -> None:
        """Charge the audio that was made: ``audio_s`` is all of it up to now."""
        due = math.ceil(audio_s * AUDIO_UNIT) - self._charged_ms
        if due > 0 and (ended or due >= REPORT_AUDIO_S * AUDIO_UNIT):
            self._charged_ms += due
            self._owner.later(self._of("audio_seconds"), due)

    def _of(self, unit: str) -> list[Quota]:
        return [each for each in self._quotas if each.unit == unit]


def duration(seconds: float) -> str:
    """In OpenAI's words: ``12s``, ``1m30s``, ``23h59m0s``."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _is_days_text(quota: Quota) -> bool:
    return quota.name == "characters_per_day"


def _exceeded(quota: Quota, wait_s: float, left: int) -> KubevoiceError:
    wait = max(1, math.ceil(wait_s))
    some = f" has {left:,} left" if left and quota.unit == "characters" else " is used up"
    return QuotaExceeded(f"{quota}{some}; try again in {duration(wait)}", wait)
