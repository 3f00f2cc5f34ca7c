"""The audit log: every change over HTTP, who made it, and what came of it."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from serving.api.audited import ACTIONS, EXEMPT
from serving.logs import AUDIT
from serving.settings import Settings
from serving.store.audit import AuditStore
from serving.store.voices import VoiceStore
from tests.serving.api.guarded import bearer, keys_of, new_key, scripted_app
from tests.serving.api.test_isolation import RECORDING

ROUTE = "/v1/audit"


def admin(store: VoiceStore, settings: Settings, tenant: str = "acme") -> tuple[TestClient, str]:
    """A client with a key of all scopes, and the key's id."""
    key, secret = new_key(store, tenant)
    return TestClient(scripted_app(store, settings), headers=bearer(secret)), key.id


def entries(client: TestClient, **params: Any) -> list[dict[str, Any]]:
    answer = client.get(ROUTE, params=params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def test_every_route_that_changes_something_has_an_action(store: VoiceStore, settings: Settings) -> None:
    writes = {
        operation["operationId"]
        for methods in scripted_app(store, settings).openapi()["paths"].values()
        for method, operation in methods.items()
        if method != "get"
    }
    assert writes <= set(ACTIONS) | set(EXEMPT), "say what a new route does in serving/api/audited.py"
    assert not set(ACTIONS) & set(EXEMPT)
    assert all(re.fullmatch(r"[a-z_]+\.[a-z_]+", action) for action in ACTIONS.values())


def test_a_change_is_written_down_before_it_is_answered(store: VoiceStore, settings: Settings) -> None:
    client, key = admin(store, settings)
    before = datetime.now(UTC).timestamp()
    made = client.post("/v1/profiles", json={"name": "own"}, headers={"X-Request-ID": "mine-1"}).json()
    (entry,) = entries(client)
    assert before <= entry.pop("at") <= datetime.now(UTC).timestamp()
    assert entry.pop("id").startswith("audit_")
    assert entry == {
        "object": "audit.entry", "tenant": "acme", "actor": key, "action": "profile.create", "object_id": made["id"],
        "request_id": "mine-1", "outcome": "succeeded", "detail": {"status": 200},
    }  # fmt: skip
    client.delete("/v1/profiles/own")
    assert [(each["action"], each["object_id"]) for each in entries(client)] == [
        ("profile.delete", made["id"]), ("profile.create", made["id"]),
    ]  # fmt: skip


def test_a_deleted_voice_is_named_by_its_id_by_either_api(store: VoiceStore, settings: Settings) -> None:
    client, _ = admin(store, settings)
    for path in ("/v1/audio/voices", "/elevenlabs/v1/voices"):
        made = client.post("/v1/audio/voices", data={"name": "Ada"}, files={"audio_sample": RECORDING}).json()
        assert client.delete(f"{path}/Ada").status_code == 200
        deleted, created = entries(client, limit=2)
        assert (deleted["action"], deleted["object_id"]) == ("voice.delete", made["id"])
        assert (created["action"], created["object_id"]) == ("voice.create", made["id"])
    assert "Ada" not in client.get(ROUTE).text


def test_what_failed_or_was_refused_is_written_down_too(store: VoiceStore, settings: Settings) -> None:
    client, _ = admin(store, settings)
    assert client.delete("/v1/profiles/none").status_code == 404
    speaker, text_of_key = new_key(store, "acme", "speech")
    assert client.post("/v1/keys", json={"name": "x"}, headers=bearer(text_of_key)).status_code == 403
    denied, failed = entries(client)
    assert (failed["outcome"], failed["object_id"], failed["detail"]["status"]) == ("failed", "none", 404)
    assert (denied["action"], denied["actor"], denied["outcome"]) == ("access.denied", speaker.id, "denied")
    assert denied["detail"] == {"method": "POST", "path": "/v1/keys"}


def test_speech_reading_and_wrong_methods_are_not_written_down(store: VoiceStore, settings: Settings) -> None:
    client, _ = admin(store, settings)
    assert client.post("/v1/audio/speech", json={"model": "auto", "input": "Hello.", "voice": "one"}).status_code == 200
    assert client.get("/v1/profiles").status_code == 200
    assert client.post("/v1/models").status_code == 405
    assert client.post("/v1/nothing").status_code == 404
    assert entries(client) == []


def test_a_key_is_written_down_for_the_tenant_whose_it_is_and_without_its_text(
    store: VoiceStore, settings: Settings
) -> None:
    client, _ = admin(store, settings, "default")
    made = client.post("/v1/keys", json={"name": "app", "scopes": ["speech"], "tenant": "other"}).json()
    assert entries(client) == []
    (entry,) = entries(client, tenant="other")
    assert (entry["action"], entry["object_id"], entry["tenant"]) == ("key.create", made["id"], "other")
    assert entry["detail"] == {"status": 200, "state": "active", "scopes": ["speech"], "tenant": "other"}
    assert made["key"].split("_", 2)[2] not in str(entry)


def test_each_tenant_sees_its_own_and_the_default_one_all(store: VoiceStore, settings: Settings) -> None:
    acme, _ = admin(store, settings, "acme")
    default, _ = admin(store, settings, "default")
    for client in (acme, default):
        client.post("/v1/profiles", json={"name": "own"})
    assert [each["tenant"] for each in entries(acme)] == ["acme"]
    assert [each["tenant"] for each in entries(default)] == ["default"]
    assert [each["tenant"] for each in entries(default, tenant="acme")] == ["acme"]
    assert [each["tenant"] for each in entries(default, tenant="*")] == ["default", "acme"]
    for other in ("default", "*"):
        assert acme.get(ROUTE, params={"tenant": other}).status_code == 403
    assert default.get(ROUTE, params={"tenant": "../x"}).status_code == 400
    first = entries(default)[0]["id"]
    assert acme.get(ROUTE, params={"after": first}).status_code == 404
    voices = bearer(new_key(store, "acme", "voices")[1])
    assert acme.get(ROUTE, headers=voices).status_code == 403


def test_the_list_has_pages_and_filters(store: VoiceStore, settings: Settings) -> None:
    client, _ = admin(store, settings)
    ids = [client.post("/v1/profiles", json={"name": f"p{number}"}).json()["id"] for number in range(5)]
    client.delete(f"/v1/profiles/{ids[0]}")
    seen: list[str] = []
    answer = client.get(ROUTE, params={"limit": 2}).json()
    while True:
        seen += [f"{each['action']} {each['object_id']}" for each in answer["data"]]
        if not answer["has_more"]:
            break
        answer = client.get(ROUTE, params={"limit": 2, "after": answer["data"][-1]["id"]}).json()
    assert seen == [f"profile.delete {ids[0]}", *(f"profile.create {each}" for each in reversed(ids))]
    assert len(entries(client, action="profile.delete")) == 1
    assert [each["action"] for each in entries(client, object_id=ids[0])] == ["profile.delete", "profile.create"]
    now = datetime.now(UTC)
    assert len(entries(client, since=(now - timedelta(hours=1)).isoformat())) == 6
    assert entries(client, since=(now + timedelta(hours=1)).isoformat()) == []
    for wrong in ("2026-01-01T00:00:00", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+23:59"):
        assert client.get(ROUTE, params={"since": wrong}).status_code == 400
    assert entries(client, object_id="\0") == []


def test_nobody_is_asked_who_they_are_where_there_are_no_keys(store: VoiceStore, settings: Settings) -> None:
    client = TestClient(scripted_app(store, settings))
    client.post("/v1/profiles", json={"name": "own"})
    (entry,) = entries(client)
    assert (entry["tenant"], entry["actor"]) == ("default", "anonymous")


def test_a_change_whose_row_cannot_be_written_is_done_and_told_in_the_log(
    store: VoiceStore, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    client, key = admin(store, settings)
    with store.database.session() as session:
        session.execute(text("DROP TABLE audit"))
    with caplog.at_level(logging.INFO):
        assert client.post("/v1/profiles", json={"name": "own"}).status_code == 200
    line = next(record for record in caplog.records if record.name == AUDIT)
    assert (line.message, line.__dict__["fields"]["actor"]) == ("profile.create", key)
    assert any("no row of profile.create" in record.message for record in caplog.records)
    assert 'kubevoice_audit_lost_total{action="profile.create"} 1.0' in client.get("/metrics").text


def test_old_entries_are_forgotten(store: VoiceStore, settings: Settings) -> None:
    client, _ = admin(store, settings)
    client.post("/v1/profiles", json={"name": "own"})
    audit = AuditStore(store.database)
    assert audit.sweep(timedelta(days=1)) == 0
    assert audit.sweep(timedelta(days=-1)) == 1
    assert entries(client) == []
    assert keys_of(store).exist()
