"""A job that is sent several times at once, with one Idempotency-Key, is one job and is charged once."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.types import Scope

from serving.api.quotas import Charge, Quotas
from serving.settings import Settings
from serving.settings_groups import QuotaSettings
from serving.store.voices import VoiceStore
from tests.serving.api.guarded import scripted_app


async def test_a_job_that_is_sent_many_times_at_once_is_one_and_charged_once(
    store: VoiceStore, settings: Settings
) -> None:
    own = settings.model_copy(update={"quotas": QuotaSettings(requests_per_day=100, characters_per_day=1000)})
    transport = httpx.ASGITransport(scripted_app(store, own))

    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:

        async def send(characters: int, key: str) -> httpx.Response:
            body = {"voice": "one", "items": [{"text": "a" * characters}]}
            return await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})

        twins = await asyncio.gather(*(send(40, "same") for _ in range(12)))
        assert [answer.status_code for answer in twins] == [200] * 12
        assert len({answer.json()["id"] for answer in twins}) == 1
        assert len((await client.get("/v1/jobs")).json()["data"]) == 1
        rest = await send(960, "rest")
        assert (rest.status_code, rest.headers["x-ratelimit-remaining-requests"]) == (200, "98")
        assert (await send(1, "more")).json()["error"]["code"] == "quota_exceeded"


async def test_a_job_sent_twice_at_once_is_not_refused_for_what_its_twin_has_used_up(
    store: VoiceStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings.model_copy(update={"quotas": QuotaSettings(characters_per_day=40)})
    transport = httpx.ASGITransport(scripted_app(store, own))
    body, headers = {"voice": "one", "items": [{"text": "a" * 40}]}, {"Idempotency-Key": "same"}

    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        first: list[httpx.Response] = []
        take = Quotas.take

        async def after_the_twin(self: Quotas, scope: Scope, **costs: Any) -> Charge:
            if not first:
                monkeypatch.setattr(Quotas, "take", take)
                first.append(await client.post("/v1/jobs", json=body, headers=headers))
            return await take(self, scope, **costs)

        monkeypatch.setattr(Quotas, "take", after_the_twin)
        second = await client.post("/v1/jobs", json=body, headers=headers)
        assert (first[0].status_code, second.status_code) == (200, 200)
        assert second.json()["id"] == first[0].json()["id"]
