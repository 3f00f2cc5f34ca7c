"""Delivers the messages to webhooks: some at a time, again and again over a day, until it is closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from secrets import SystemRandom

import httpx2

from serving.errors import KubevoiceError
from serving.jobs.pulling import Pulling
from serving.jobs.sending import NotDelivered, new_client, send
from serving.jobs.shares import Shares
from serving.metrics import WEBHOOKS, Metrics
from serving.store.webhooks import Message, WebhookQueue

logger = logging.getLogger(__name__)
_random = SystemRandom()

AT_ONCE = 32
"""Messages that one worker delivers at a time: one that does not answer keeps its place for 15 s. See ``Shares``."""

LEASE_S = 60.0
"""Longer than an attempt takes: until the message of a worker that was killed is taken up by another."""

ATTEMPTS = 12
FIRST_S, FACTOR, MOST_S = 5.0, 3.0, 6 * 3600.0
"""Between attempts: 5 s, 15 s, 45 s, ... 6 h; about 23 hours in all."""

JITTER = 0.2
"""Of a wait, either way: messages of receivers that failed together come back one by one."""


class WebhookLoop(Pulling[Message]):
    """Delivers the messages of ``queue``; any number of them share it. Tenants take turns and share the places.

    A message is delivered at least once: twice where the process ends between the answer and the record.
    """

    def __init__(self, queue: WebhookQueue, metrics: Metrics, *, private: bool) -> None:
        super().__init__(lambda: queue.claim(LEASE_S, self._full), queue.release)
        self._queue = queue
        self._shares = Shares(AT_ONCE)
        self._full = self._shares.full  # a copy: it is read in a thread
        self._metrics = metrics
        self._private = private
        self._client: httpx2.AsyncClient | None = None

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._client = new_client()
        self.run(*[self._slot(self._client) for _ in range(AT_ONCE)])

    async def close(self) -> None:
        """Stop; messages in work are given back, and may arrive twice."""
        await super().close()
        if self._client is not None:
            await self._client.aclose()

    async def _slot(self, client: httpx2.AsyncClient) -> None:
        while True:
            message = await self.next()
            try:
                with self._place(message):
                    await self._deliver(message, client)
            except asyncio.CancelledError:
                with suppress(KubevoiceError):  # else the lease ends by itself
                    await asyncio.to_thread(self._queue.release, message)
                raise
            except KubevoiceError as error:
                logger.warning("message %s is not recorded and will be sent again: %s", message.id, error)

    @contextmanager
    def _place(self, message: Message) -> Iterator[None]:
        try:
            with self._shares.held(message):
                self._full = self._shares.full
                yield
        finally:
            self._full = self._shares.full
            self.look_again()

    async def _deliver(self, message: Message, client: httpx2.AsyncClient) -> None:
        try:
            await send(message, client, private=self._private)
        except NotDelivered as error:
            again_s = None if error.final else wait_s(message.attempts + 1)
            self._metrics.add(WEBHOOKS, outcome="failed" if again_s is None else "again")
            logger.warning("job %s: message %s was not delivered: %s", message.job_id, message.id, error)
            await asyncio.to_thread(self._queue.failed, message, str(error), again_s=again_s)
        else:
            self._metrics.add(WEBHOOKS, outcome="delivered")
            await asyncio.to_thread(self._queue.delivered, message)


def wait_s(attempts: int) -> float | None:
    """Seconds until the next attempt after so many that failed; None where there is none."""
    if attempts >= ATTEMPTS:
        return None
    return min(MOST_S, FIRST_S * FACTOR ** (attempts - 1)) * _random.uniform(1 - JITTER, 1 + JITTER)
