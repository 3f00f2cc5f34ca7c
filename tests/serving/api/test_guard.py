"""API keys at the door: who comes in, who does not, and how that is said."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from elevenlabs import ElevenLabs
from elevenlabs.core.api_error import ApiError
from openai import AuthenticationError, OpenAI, PermissionDeniedError
from pydantic import SecretStr
from sqlalchemy import event
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from serving.api import key_cache
from serving.logs import JsonFormatter
from serving.settings import Settings
from serving.settings_groups import AuthSettings
from serving.store.voices import VoiceStore
from tests.serving.api.guarded import bearer, keys_of, new_key, scripted_app
from tests.serving.api.moving_clock import moving_clock

SPEECH = {"model": "auto", "input": "Hello.", "voice": "one"}
SOCKET = "/elevenlabs/v1/text-to-speech/one/stream-input"
ROOT = "root-key-of-sixty-four-characters"


def with_auth(settings: Settings, **auth: Any) -> Settings:
    return settings.model_copy(update={"auth": AuthSettings(**auth)})


def speak(client: TestClient, headers: dict[str, str] | None = None) -> Any:
    return client.post("/v1/audio/speech", json=SPEECH, headers=headers or {})


@pytest.mark.parametrize(
    "header", ["Authorization: Bearer {}", "authorization: bearer  {} ", "xi-api-key: {}", "Xi-Api-Key:  {}"]
)
@pytest.mark.parametrize("route", ["/v1/models", "/elevenlabs/v1/models"])
def test_either_header_lets_in_on_both_apis(store: VoiceStore, settings: Settings, header: str, route: str) -> None:
    name, _, value = header.format(new_key(store)[1]).partition(":")
    assert TestClient(scripted_app(store, settings)).get(route, headers={name: value}).status_code == 200


def test_a_proxys_own_login_does_not_hide_the_key(store: VoiceStore, settings: Settings) -> None:
    headers = {"Authorization": "Basic dTpw", "xi-api-key": new_key(store)[1]}
    assert speak(TestClient(scripted_app(store, settings)), headers).status_code == 200


def test_without_a_key_the_refusal_says_what_to_send(store: VoiceStore, settings: Settings) -> None:
    new_key(store)
    client = TestClient(scripted_app(store, settings))
    answer = speak(client)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.headers["X-Request-ID"].startswith("req_")
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "invalid_api_key", None)
    assert "Authorization: Bearer" in error["message"]
    detail = client.get("/elevenlabs/v1/voices").json()["detail"]
    assert (detail["status"], "xi-api-key" in detail["message"]) == ("invalid_api_key", True)
    assert 'kubevoice_refusals_total{reason="invalid_api_key"} 2.0' in client.get("/metrics").text


@pytest.mark.parametrize("text", ["x", "kv_", "Bearer", "kv_0123456789abcdef_" + "A" * 43, "ü", "k" * 8000])
def test_what_is_no_key_is_refused(store: VoiceStore, settings: Settings, text: str) -> None:
    new_key(store)
    client = TestClient(scripted_app(store, settings))
    for name, value in (("xi-api-key", text), ("Authorization", f"Bearer {text}")):
        headers = {name.encode(): value.encode("latin-1")}
        answer = client.get("/v1/models", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert text == "x" or text not in answer.text.replace("Authorization: Bearer <key>", "")


@pytest.mark.parametrize(
    ("scope", "allowed", "refused"),
    [
        ("speech", "GET /v1/audio/voices", "POST /v1/audio/voices"),
        ("speech", "GET /v1/profiles", "POST /v1/profiles"),
        ("speech", "GET /v1/conversion-models", "DELETE /v1/conversion-models/x"),
        ("speech", "GET /elevenlabs/v1/voices", "DELETE /elevenlabs/v1/voices/x"),
        ("voices", "POST /v1/audio/voices", "POST /v1/audio/speech"),
        ("voices", "GET /v1/profiles", "POST /v1/audio/conversions"),
        ("voices", "GET /elevenlabs/v2/voices", "POST /elevenlabs/v1/text-to-speech/one"),
        ("training", "GET /v1/datasets", "POST /elevenlabs/v1/speech-to-speech/x/stream"),
        ("training", "POST /v1/training/runs/x/promote", "GET /v1/audio/voices"),
        ("admin", "GET /v1/models", "POST /v1/training/runs"),
        ("speech", "HEAD /v1/profiles", "PUT /v1/profiles/default"),
        ("speech", "GET /v1/models", "GET /v1/keys"),
        ("speech", "GET /v1/audio/voices/", "DELETE /v1/training/runs/x"),
    ],
)
def test_a_key_may_do_what_its_scope_says(
    store: VoiceStore, settings: Settings, scope: str, allowed: str, refused: str
) -> None:
    client = TestClient(scripted_app(store, settings), headers=bearer(new_key(store, "acme", scope)[1]))
    assert client.request(*allowed.split()).status_code not in (401, 403)
    answer = client.request(*refused.split())
    assert answer.status_code == 403
    assert "missing_scope" in answer.text
    assert f"yours has {scope}" in answer.text


@pytest.mark.parametrize("path", ["/v1/keys", "/v1/audit", "/v1/audio/voices/Ada/export"])
def test_a_line_break_behind_a_path_does_not_hide_it_from_the_guard(
    store: VoiceStore, settings: Settings, path: str
) -> None:
    client = TestClient(scripted_app(store, settings), headers=bearer(new_key(store, "acme", "speech")[1]))
    assert client.get(f"{path}%0A").status_code == 403
    assert client.post("/v1/keys%0a", json={"name": "mine", "scopes": ["admin"]}).status_code == 403


def test_a_wrong_path_is_not_found_by_any_key_and_nothing_to_strangers(store: VoiceStore, settings: Settings) -> None:
    client = TestClient(scripted_app(store, settings))
    assert client.get("/v1/nothing", headers=bearer(new_key(store, "acme", "speech")[1])).status_code == 404
    assert client.get("/v1/nothing").status_code == 401
    assert client.get("//v1/audio/voices").status_code == 401


@pytest.mark.parametrize("route", ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"])
def test_probes_and_documentation_need_no_key(store: VoiceStore, settings: Settings, route: str) -> None:
    new_key(store)
    assert TestClient(scripted_app(store, settings)).get(route).status_code == 200


def test_a_revoked_key_stops_in_every_ingress(store: VoiceStore, settings: Settings) -> None:
    key, text = new_key(store)
    first, second = (TestClient(scripted_app(store, settings), headers=bearer(text)) for _ in range(2))
    assert (speak(first).status_code, speak(second).status_code) == (200, 200)
    keys_of(store).revoke("acme", key.id)
    for client in (first, second):
        answer = speak(client)
        assert answer.status_code == 401
        assert f"{key.id} is revoked" in answer.json()["error"]["message"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that have passed for what ingresses remember; tests add to it."""
    return moving_clock(monkeypatch, key_cache)


def test_what_every_ingress_remembers_of_a_key_is_gone_within_seconds(
    store: VoiceStore, settings: Settings, clock: list[float]
) -> None:
    key, text = new_key(store)
    apps = [scripted_app(store, settings, ttl_s=key_cache.TTL_S) for _ in range(2)]
    assert key_cache.TTL_S <= 5
    with TestClient(apps[0], headers=bearer(text)) as first, TestClient(apps[1], headers=bearer(text)) as second:
        assert (speak(first).status_code, speak(second).status_code) == (200, 200)
        keys_of(store).revoke("acme", key.id)
        clock[0] += key_cache.TTL_S
        assert (speak(first).status_code, speak(second).status_code) == (401, 401)
        with second.websocket_connect(SOCKET) as socket:
            assert socket.receive_json()["error"] == "invalid_api_key"


def test_an_open_socket_does_not_speak_on_for_a_revoked_key(
    store: VoiceStore, settings: Settings, clock: list[float]
) -> None:
    key, text = new_key(store)
    with (
        TestClient(scripted_app(store, settings, ttl_s=key_cache.TTL_S), headers=bearer(text)) as client,
        client.websocket_connect(SOCKET) as socket,
    ):
        socket.send_json({"text": "Hello. ", "flush": True})
        assert socket.receive_json()["audio"]
        keys_of(store).revoke("acme", key.id)
        clock[0] += key_cache.TTL_S
        socket.send_json({"text": "More. ", "flush": True})
        said = socket.receive_json()
        while "error" not in said:
            said = socket.receive_json()
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert (said["error"], closed.value.code) == ("invalid_api_key", 1008)
    assert f"{key.id} is revoked" in said["message"]


def test_an_expired_key_stops_though_it_is_remembered(
    store: VoiceStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    _, text = keys_of(store).create("acme", "a key", ["speech"], soon)
    with TestClient(scripted_app(store, settings, ttl_s=3600), headers=bearer(text)) as client:
        assert speak(client).status_code == 200

        class Later(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
                return soon

        monkeypatch.setattr("serving.store.api_keys.datetime", Later)
        answer = speak(client)
    assert (answer.status_code, "is expired" in answer.text) == (401, True)


def test_the_database_is_not_asked_about_a_key_for_every_request(store: VoiceStore, settings: Settings) -> None:
    _, text = new_key(store)
    asked: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "api_keys" in statement:
            asked.append(statement)

    event.listen(store.database.engine, "before_cursor_execute", count)
    with TestClient(scripted_app(store, settings, ttl_s=3600)) as client:
        for headers in (bearer(text), bearer(text[:-3] + "abc")):
            for _ in range(5):
                client.get("/v1/models", headers=headers)
    assert len(asked) == 3, "whether there are keys, and each of the two"


def test_nobody_is_asked_for_a_key_until_there_is_one(store: VoiceStore, settings: Settings) -> None:
    with TestClient(scripted_app(store, settings)) as client:
        assert speak(client).status_code == 200
        assert speak(client, bearer("whatever a client has to send")).status_code == 200
        assert not (settings.data / ".pepper").exists()
        key, _ = new_key(store)
        assert speak(client).status_code == 401
        keys_of(store).revoke(None, key.id)
        assert speak(client).status_code == 401, "the last key's end opens no door"


def test_keys_can_be_required_before_there_are_any_and_switched_off(store: VoiceStore, settings: Settings) -> None:
    assert speak(TestClient(scripted_app(store, with_auth(settings, enabled=True)))).status_code == 401
    new_key(store)
    assert speak(TestClient(scripted_app(store, with_auth(settings, enabled=False)))).status_code == 200


def test_the_root_key_may_everything_and_is_in_no_table(store: VoiceStore, settings: Settings) -> None:
    client = TestClient(scripted_app(store, with_auth(settings, root_key=SecretStr(ROOT))))
    assert speak(client).status_code == 401
    assert speak(client, bearer(ROOT)).status_code == 200
    assert client.get("/v1/datasets", headers=bearer(ROOT)).status_code == 404, "training is not served here"
    assert speak(client, bearer(f"{ROOT}x")).status_code == 401
    assert not keys_of(store).exist()


def test_the_log_names_the_key_and_the_tenant_and_never_its_text(
    store: VoiceStore, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    key, text = new_key(store)
    client = TestClient(scripted_app(store, settings))
    with caplog.at_level(logging.INFO, "serving"):
        speak(client, bearer(text))
        speak(client)
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records if record.message == "request"]
    assert [(line["status"], line.get("key"), line.get("tenant")) for line in lines] == [
        (200, key.id, "acme"), (401, None, None),
    ]  # fmt: skip
    assert text not in str(lines)
    secret = text.split("_", 2)[2].encode()  # which may hold underscores too
    stored = b"".join(path.read_bytes() for path in settings.data.glob("kubevoice.db*"))
    assert key.id.encode() in stored
    assert secret not in stored


@pytest.mark.parametrize("headers", [{}, {"xi-api-key": "wrong"}])
def test_a_socket_without_a_key_is_told_and_closed(
    store: VoiceStore, settings: Settings, headers: dict[str, str]
) -> None:
    new_key(store)
    with TestClient(scripted_app(store, settings)).websocket_connect(SOCKET, headers=headers) as socket:
        said = socket.receive_json()
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert (said["error"], closed.value.code) == ("invalid_api_key", 1008)


def test_a_socket_speaks_for_either_header(store: VoiceStore, settings: Settings) -> None:
    _, text = new_key(store, "acme", "speech")
    for headers in (bearer(text), {"xi-api-key": text}):
        with TestClient(scripted_app(store, settings)).websocket_connect(SOCKET, headers=headers) as socket:
            socket.send_json({"text": " "})
            socket.send_json({"text": "Hello. ", "flush": True})
            socket.send_json({"text": ""})
            assert socket.receive_json()["audio"]
            while not socket.receive_json()["isFinal"]:
                pass


def test_openais_client_raises_what_it_raises_at_openai(store: VoiceStore, settings: Settings) -> None:
    _, text = new_key(store, "acme", "voices")
    http = TestClient(scripted_app(store, settings))

    def client(key: str) -> OpenAI:
        return OpenAI(base_url="http://testserver/v1", api_key=key, http_client=http, max_retries=0)

    with pytest.raises(AuthenticationError) as unknown:
        client("sk-other").models.list()
    assert unknown.value.code == "invalid_api_key"
    assert client(text).models.list().data
    with pytest.raises(PermissionDeniedError) as refused:
        client(text).audio.speech.create(model="tts-1", voice="alloy", input="Hello.")
    assert refused.value.code == "missing_scope"


@pytest.mark.filterwarnings("ignore:You should not use the .timeout. argument")
def test_elevenlabs_client_raises_what_it_raises_at_elevenlabs(store: VoiceStore, settings: Settings) -> None:
    _, text = new_key(store, "acme", "voices")
    http: Any = TestClient(scripted_app(store, settings))

    def client(key: str) -> ElevenLabs:
        return ElevenLabs(base_url="http://testserver/elevenlabs", api_key=key, httpx_client=http)

    with pytest.raises(ApiError) as unknown:
        client("other").voices.get_all()
    assert unknown.value.status_code == 401
    assert unknown.value.body["detail"]["status"] == "invalid_api_key"
    assert client(text).voices.get_all().voices
    with pytest.raises(ApiError) as refused:
        list(client(text).text_to_speech.convert("one", text="Hello."))
    assert (refused.value.status_code, refused.value.body["detail"]["status"]) == (403, "missing_scope")
