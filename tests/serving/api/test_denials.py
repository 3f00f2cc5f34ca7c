"""Denied changes in the audit log: each for itself while they are few, one row with a count when they are many."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from serving.api.denials import ROWS, Denials
from serving.settings import Settings
from serving.store.audit import Entry
from serving.store.voices import VoiceStore
from tests.serving.api.asgi import until
from tests.serving.api.guarded import bearer, new_key, scripted_app

KEYS = ("POST", "/v1/keys")


def denied(actor: str = "key_1", path: str = "/v1/keys", tenant: str = "acme") -> Entry:
    return Entry(tenant, actor, "access.denied", "denied", None, {"method": "POST", "path": path})


class Rows(list[Entry]):
    """What was written."""

    async def write(self, entry: Entry) -> None:
        self.append(entry)


async def test_a_few_have_a_row_each() -> None:
    rows = Rows()
    denials = Denials(rows.write)
    noted = [denied(path=f"/v1/keys/{number}") for number in range(ROWS)]
    for entry in noted:
        await denials.note(entry, KEYS)
    await denials.flush()
    assert rows == noted


async def test_many_share_one_row_at_the_end_of_the_minute() -> None:
    rows = Rows()
    denials = Denials(rows.write, window_s=0.05)
    await asyncio.gather(*(denials.note(denied(), KEYS) for _ in range(ROWS + 39)))
    last = denied(path="/v1/keys/last")
    await denials.note(last, KEYS)
    assert len(rows) == ROWS
    await until(lambda: len(rows) > ROWS)
    assert rows[-1].detail == {"method": "POST", "path": "/v1/keys/last", "count": 40}
    assert (rows[-1].id, rows[-1].outcome, len(rows)) == (last.id, "denied", ROWS + 1)

    await denials.note(denied(), KEYS)
    assert len(rows) == ROWS + 2, "the next minute begins anew"
    await denials.flush()


async def test_the_end_of_the_process_waits_for_a_row_that_is_being_written() -> None:
    rows, begun, go = Rows(), asyncio.Event(), asyncio.Event()

    async def write(entry: Entry) -> None:
        if "count" in entry.detail:
            begun.set()
            await go.wait()
        await rows.write(entry)

    denials = Denials(write, window_s=0.05)
    for _ in range(ROWS + 5):
        await denials.note(denied(), KEYS)
    async with asyncio.timeout(10):
        await begun.wait()
    ending = asyncio.create_task(denials.flush())
    await asyncio.sleep(0.05)
    assert not ending.done()
    go.set()
    await ending
    assert rows[-1].detail["count"] == 5


async def test_who_is_denied_often_hides_nobody_else() -> None:
    rows = Rows()
    denials = Denials(rows.write)
    for _ in range(ROWS + 5):
        await denials.note(denied("loud"), KEYS)
    others = [denied("quiet"), denied("loud", tenant="other")]
    for entry in others:
        await denials.note(entry, KEYS)
    assert rows[-2:] == others
    await denials.flush()
    assert [(each.actor, each.detail.get("count")) for each in rows[ROWS + 2 :]] == [("loud", 5)]
    await denials.flush()
    assert len(rows) == ROWS + 3


async def test_a_key_that_hammers_makes_few_rows_and_what_is_not_denied_keeps_its_own(
    store: VoiceStore, settings: Settings
) -> None:
    app = scripted_app(store, settings)
    admin, speaker = new_key(store, "acme"), new_key(store, "acme", "speech")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:

        async def send(text: str, name: str) -> int:
            return (await client.post("/v1/profiles", json={"name": name}, headers=bearer(text))).status_code

        refused = await asyncio.gather(*(send(speaker[1], "own") for _ in range(100)))
        made = [await send(admin[1], f"p{number}") for number in range(ROWS + 5)]
        await app.state.context.denials.flush()
        found: list[dict[str, Any]] = []
        for action in ("access.denied", "profile.create"):
            params = {"action": action, "limit": 100}
            answer = await client.get("/v1/audit", params=params, headers=bearer(admin[1]))
            found += answer.json()["data"]
    assert set(refused) == {403}
    assert set(made) == {200}
    rows = [each for each in found if each["action"] == "access.denied"]
    assert {each["actor"] for each in rows} == {speaker[0].id}
    assert len(rows) == ROWS + 1
    assert sum(each["detail"].get("count", 1) for each in rows) == 100
    assert len(found) - len(rows) == ROWS + 5


async def test_cheap_denials_hide_no_other_kind_and_the_kinds_are_few(store: VoiceStore, settings: Settings) -> None:
    app = scripted_app(store, settings)
    admin, speaker = new_key(store, "acme"), new_key(store, "acme", "speech")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:

        async def send(method: str, path: str) -> int:
            return (await client.request(method, path, headers=bearer(speaker[1]))).status_code

        cheap = [await send("DELETE", f"/v1/profiles/{number}") for number in range(ROWS + 5)]
        odd = [await send(f"ODD{number}", f"/v1/profiles/{number}") for number in range(ROWS + 5)]
        worse = [await send("POST", "/v1/keys"), await send("DELETE", "/v1/keys/key_1")]
        params: dict[str, str | int] = {"action": "access.denied", "limit": 100}
        found = (await client.get("/v1/audit", params=params, headers=bearer(admin[1]))).json()["data"]
        await app.state.context.denials.flush()
    assert {*cheap, *odd, *worse} == {403}
    told = [(each["detail"]["method"], each["detail"]["path"]) for each in found]
    assert told[:2] == [("DELETE", "/v1/keys/key_1"), ("POST", "/v1/keys")]
    assert len(told) == ROWS + ROWS + 2
