"""What an ingress replica does beside its requests."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from serving.deployments import ingress
from serving.jobs.telling import WebhookLoop


class Delivery:
    """A loop that a bug has ended once."""

    def __init__(self) -> None:
        self.failure: BaseException | None = ValueError("a bug")
        self.calls: list[str] = []
        self.started = asyncio.Event()

    async def close(self) -> None:
        self.calls.append("close")

    def start(self) -> None:
        self.calls.append("start")
        self.failure = None
        self.started.set()


async def test_a_delivery_of_webhooks_that_a_bug_has_ended_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingress, "REPORT_PERIOD_S", 0.01)
    delivery = Delivery()
    watching = asyncio.create_task(ingress._kept_going(cast("WebhookLoop", delivery)))
    async with asyncio.timeout(30):
        await delivery.started.wait()
    await asyncio.sleep(0.05)
    watching.cancel()
    assert delivery.calls == ["close", "start"]
