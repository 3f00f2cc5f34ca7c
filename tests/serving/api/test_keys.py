"""``/v1/keys``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from serving.settings import Settings
from serving.store.voices import VoiceStore
from tests.serving.api.guarded import bearer, new_key, scripted_app

ROUTE = "/v1/keys"


def admin(store: VoiceStore, settings: Settings, tenant: str) -> TestClient:
    return TestClient(scripted_app(store, settings), headers=bearer(new_key(store, tenant, "admin")[1]))


def test_a_key_is_made_works_is_listed_and_revoked(store: VoiceStore, settings: Settings) -> None:
    client = admin(store, settings, "acme")
    until = datetime.now(UTC) + timedelta(days=1)
    made = client.post(ROUTE, json={"name": "app", "scopes": ["speech"], "expires_at": until.isoformat()}).json()
    text = made.pop("key")
    assert (made["tenant"], made["scopes"], made["state"]) == ("acme", ["speech"], "active")
    assert (made["hint"], made["expires_at"]) == (text[-4:], int(until.timestamp()))
    assert client.get(f"{ROUTE}/{made['id']}").json() == made
    assert client.get(ROUTE).json()["data"][1] == made
    assert text not in client.get(ROUTE).text
    assert client.get("/v1/audio/voices", headers=bearer(text)).status_code == 200

    revoked = client.delete(f"{ROUTE}/{made['id']}").json()
    assert revoked["state"] == "revoked"
    assert client.delete(f"{ROUTE}/{made['id']}").json() == revoked
    assert client.get("/v1/audio/voices", headers=bearer(text)).status_code == 401


def test_only_the_default_tenant_manages_keys_of_others(store: VoiceStore, settings: Settings) -> None:
    acme, default = admin(store, settings, "acme"), admin(store, settings, "default")
    made = default.post(ROUTE, json={"name": "app", "scopes": ["speech"], "tenant": "other"}).json()
    assert made["tenant"] == "other"
    assert [each["id"] for each in default.get(ROUTE, params={"tenant": "other"}).json()["data"]] == [made["id"]]
    assert made["id"] not in default.get(ROUTE).text

    for answer in (
        acme.post(ROUTE, json={"name": "app", "scopes": ["speech"], "tenant": "other"}),
        acme.get(ROUTE, params={"tenant": "other"}),
        acme.delete(f"{ROUTE}/{made['id']}", params={"tenant": "other"}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "missing_scope")
        assert "acme only" in answer.json()["error"]["message"]
    assert acme.delete(f"{ROUTE}/{made['id']}").status_code == 404
    own = default.delete(f"{ROUTE}/{made['id']}", params={"tenant": "other"})
    assert own.json()["state"] == "revoked"


def test_without_keys_nobody_locks_the_others_out(store: VoiceStore, settings: Settings) -> None:
    client = TestClient(scripted_app(store, settings))
    answer = client.post(ROUTE, json={"name": "app", "scopes": ["admin"]})
    assert (answer.status_code, "keys create" in answer.text) == (403, True)
    assert client.get("/v1/audio/voices").status_code == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes.0"),
        ({"name": "../x"}, "name"),
        ({"tenant": "../x"}, "tenant"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
    ],
)
def test_what_a_key_cannot_have_is_named(
    store: VoiceStore, settings: Settings, fields: dict[str, object], param: str
) -> None:
    client = admin(store, settings, "default")
    answer = client.post(ROUTE, json={"name": "app", "scopes": ["speech"], **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert len(client.get(ROUTE).json()["data"]) == 1


def test_a_key_has_limits_of_its_own_that_are_shown_and_hold(store: VoiceStore, settings: Settings) -> None:
    client = admin(store, settings, "acme")
    body = {"name": "app", "scopes": ["speech"], "limits": {"requests_per_minute": 1, "characters_per_day": 500}}
    made = client.post(ROUTE, json=body).json()
    assert made["limits"] == body["limits"]
    assert client.get(f"{ROUTE}/{made['id']}").json()["limits"] == body["limits"]
    speech = {"model": "auto", "input": "Hello.", "voice": "one"}
    answers = [client.post("/v1/audio/speech", json=speech, headers=bearer(made["key"])) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]


@pytest.mark.parametrize(
    ("limits", "param"),
    [
        ({"requests_per_week": 1}, "limits.requests_per_week"),
        ({"requests_per_day": 0}, "limits.requests_per_day"),
        ({"requests_per_day": 10**13}, "limits.requests_per_day"),
        ({"requests_per_day": "many"}, "limits.requests_per_day"),
    ],
)
def test_limits_that_are_none_are_refused(
    store: VoiceStore, settings: Settings, limits: dict[str, object], param: str
) -> None:
    answer = admin(store, settings, "acme").post(ROUTE, json={"name": "app", "scopes": ["speech"], "limits": limits})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
