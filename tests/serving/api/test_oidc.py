"""Tokens of an OIDC issuer at the door; the issuer is real, on 127.0.0.1."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from serving.api import oidc_keys
from serving.api.oidc import MOST_CHARS
from serving.settings import Settings
from serving.settings_groups import OidcSettings
from serving.store.voices import VoiceStore
from tests.serving.api.guarded import bearer, new_key, scripted_app
from tests.serving.api.issuer import AUDIENCE, Issuer, running_issuer
from tests.serving.api.moving_clock import moving_clock

SPEECH = {"model": "auto", "input": "Hello.", "voice": "one"}
SOCKET = "/elevenlabs/v1/text-to-speech/one/stream-input"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that have passed for the keys' memory; tests add to it."""
    return moving_clock(monkeypatch, oidc_keys)


@pytest.fixture
def client(issuer: Issuer, store: VoiceStore, settings: Settings) -> Iterator[TestClient]:
    with TestClient(scripted_app(store, with_oidc(settings, issuer))) as client:
        yield client


def with_oidc(settings: Settings, issuer: Issuer, **oidc: Any) -> Settings:
    return settings.model_copy(update={"oidc": OidcSettings(issuer=issuer.url, audience=AUDIENCE, **oidc)})


def speak(client: TestClient, token: str) -> Any:
    return client.post("/v1/audio/speech", json=SPEECH, headers=bearer(token))


def refusal(client: TestClient, token: str) -> str:
    """What the 401 says; it never repeats the token."""
    answer = speak(client, token)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], answer.headers["WWW-Authenticate"]) == (401, "invalid_token", "Bearer")
    assert not any(part and part in answer.text for part in token.split("."))
    return str(error["message"])


@pytest.mark.parametrize("algorithm", ["RS256", "PS384", "ES256", "ES384", "EdDSA"])
def test_a_token_lets_in(issuer: Issuer, store: VoiceStore, settings: Settings, algorithm: str) -> None:
    issuer.add("mine", algorithm)
    chosen = with_oidc(settings, issuer, algorithms=algorithm)
    with TestClient(scripted_app(store, chosen)) as client:
        assert speak(client, issuer.token("mine")).status_code == 200
        assert client.get("/v1/models", headers={"xi-api-key": issuer.token("mine")}).status_code == 200


def test_with_an_issuer_strangers_stay_outside_and_keys_go_on(
    client: TestClient, issuer: Issuer, store: VoiceStore
) -> None:
    assert client.post("/v1/audio/speech", json=SPEECH).status_code == 401
    assert speak(client, new_key(store)[1]).status_code == 200
    assert speak(client, issuer.token("one")).status_code == 200


def test_a_token_has_its_tenant_and_its_scopes(client: TestClient, issuer: Issuer) -> None:
    made = client.post("/v1/profiles", json={"name": "own"}, headers=bearer(issuer.token("one", scope="voices")))
    assert made.status_code == 200
    path = f"/v1/profiles/{made.json()['id']}"
    assert client.get(path, headers=bearer(issuer.token("one", sub="bob"))).status_code == 200
    assert client.get(path, headers=bearer(issuer.token("one", tenant="other"))).status_code == 404
    refused = client.delete(path, headers=bearer(issuer.token("one")))
    assert (refused.status_code, "yours has speech" in refused.text) == (403, True)
    nothing = client.get("/v1/models", headers=bearer(issuer.token("one", scope="openid")))
    assert (nothing.status_code, "yours has none" in nothing.text) == (403, True)


@pytest.mark.parametrize(
    ("oidc", "claims"),
    [
        ({}, {"scope": ["speech", 7, None]}),
        ({"scope_prefix": "kubevoice:"}, {"scope": "openid kubevoice:speech admin"}),
        ({"scope_claim": "realm.roles"}, {"realm": {"roles": ["speech"]}, "scope": None}),
        ({"tenant_claim": "https://example.org/tenant"}, {"https://example.org/tenant": "acme", "tenant": None}),
    ],
)
def test_claims_may_have_other_names_and_forms(
    issuer: Issuer, store: VoiceStore, settings: Settings, oidc: dict[str, Any], claims: dict[str, Any]
) -> None:
    with TestClient(scripted_app(store, with_oidc(settings, issuer, **oidc))) as client:
        assert speak(client, issuer.token("one", **claims)).status_code == 200
        assert client.get("/v1/keys", headers=bearer(issuer.token("one", **claims))).status_code == 403


NOW = int(time.time())


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"exp": NOW - 3600}, "has expired (exp)"),
        ({"nbf": NOW + 36000}, "not valid yet"),
        ({"iat": NOW + 36000}, "not valid yet"),
        ({"aud": "another"}, f"not for {AUDIENCE} (aud)"),
        ({"iss": "https://elsewhere.example.org"}, "not from http://127.0.0.1"),
        ({"exp": None}, "no claim exp"),
        ({"aud": None}, "no claim aud"),
        ({"iss": None}, "no claim iss"),
        ({"sub": None}, "no claim sub"),
        ({"sub": "a\nb"}, "claim sub is no text"),
        ({"sub": "x" * 999}, "claim sub is no text"),
        ({"tenant": None}, "no claim tenant"),
        ({"tenant": ["acme"]}, "no claim tenant"),
        ({"tenant": "../other"}, "no name of a tenant"),
        ({"tenant": "t" * 65}, "no name of a tenant"),
        ({"exp": float("inf")}, "no JWT that can be read"),
        ({"exp": "tomorrow"}, "no JWT that can be read"),
    ],
)
def test_what_is_wrong_with_a_token_is_said(
    client: TestClient, issuer: Issuer, claims: dict[str, Any], fault: str
) -> None:
    assert fault in refusal(client, issuer.token("one", **claims))


def test_clocks_may_differ_a_little(client: TestClient, issuer: Issuer) -> None:
    now = int(time.time())
    assert speak(client, issuer.token("one", exp=now - 5)).status_code == 200
    assert speak(client, issuer.token("one", nbf=now + 15, iat=now + 15)).status_code == 200


def _part(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_public_key_is_no_shared_secret(issuer: Issuer, store: VoiceStore, settings: Settings) -> None:
    issuer.add("rsa", "RS256")
    key, _ = issuer.keys["rsa"]
    assert isinstance(key, rsa.RSAPrivateKey)
    body = issuer.token("rsa").split(".")[1]
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'rsa'})}.{body}"
    with TestClient(scripted_app(store, with_oidc(settings, issuer))) as client:
        assert speak(client, issuer.token("rsa")).status_code == 200
        for secret in (
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            json.dumps(issuer.jwks()["keys"][1]).encode(),
        ):
            forged = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
            assert "algorithm (alg) is none of RS256, ES256" in refusal(client, f"{signed}.{_part(forged)}")


@pytest.mark.parametrize("algorithm", ["none", "None", "HS512", "ES512", "RS256 ", 7, None])
def test_other_algorithms_are_refused(client: TestClient, issuer: Issuer, algorithm: object) -> None:
    header, body, signature = issuer.token("one").split(".")
    for given in (signature, ""):
        refused = refusal(client, f"{_part({'alg': algorithm, 'kid': 'one'})}.{body}.{given}")
        assert "algorithm (alg)" in refused
    assert header


def test_a_key_signs_only_by_the_algorithm_of_its_kind(client: TestClient, issuer: Issuer) -> None:
    _, body, signature = issuer.token("one").split(".")
    assert "its issuer does not have" in refusal(client, f"{_part({'alg': 'RS256', 'kid': 'one'})}.{body}.{signature}")


def test_a_changed_token_is_refused(client: TestClient, issuer: Issuer) -> None:
    header, body, signature = issuer.token("one").split(".")
    other = issuer.token("one", tenant="other").split(".")[1]
    assert "signature is wrong" in refusal(client, f"{header}.{other}.{signature}")
    assert body != other


@pytest.mark.parametrize(
    "text", ["a.b.c", "..", "....", "e30.e30.", f"{_part(b'[')}.x.y", f"{_part(b'[' * 9000)}.e30.e30", "ü.ü.ü"]
)
def test_what_is_no_token_is_refused(client: TestClient, text: str) -> None:
    answer = client.get("/v1/models", headers={b"Authorization": b"Bearer " + text.encode("latin-1")})
    assert answer.status_code == 401


def test_a_huge_token_is_not_looked_at(client: TestClient, issuer: Issuer) -> None:
    assert f"longer than {MOST_CHARS:,}" in refusal(client, issuer.token("one", padding="x" * MOST_CHARS))
    assert issuer.asked == []


def test_a_weak_key_is_refused(client: TestClient, issuer: Issuer) -> None:
    issuer.keys["weak"] = rsa.generate_private_key(65537, 1024), "RS256"
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = issuer.token("weak")
    assert "the key it is signed with" in refusal(client, token)


def test_keys_may_be_replaced(client: TestClient, issuer: Issuer, clock: list[float]) -> None:
    old = issuer.token("one")
    assert speak(client, old).status_code == 200
    issuer.add("two")
    clock[0] += oidc_keys.PAUSE_S
    assert speak(client, issuer.token("two")).status_code == 200
    del issuer.keys["one"]
    clock[0] += oidc_keys.FRESH_S
    assert speak(client, old).status_code == 200, "asked for beside this request"
    while issuer.asked.count("/jwks") < 3:
        speak(client, issuer.token("two"))
    for _ in range(1000):
        if speak(client, old).status_code == 401:
            break
    assert "its issuer does not have" in refusal(client, old)


def test_invented_key_ids_do_not_reach_the_issuer_again_and_again(
    client: TestClient, issuer: Issuer, clock: list[float]
) -> None:
    assert speak(client, issuer.token("one")).status_code == 200
    for number in range(30):
        assert speak(client, issuer.token("one", {"kid": f"invented-{number}"})).status_code == 401
    assert issuer.asked.count("/jwks") == 1
    clock[0] += oidc_keys.PAUSE_S
    for number in range(30):
        assert speak(client, issuer.token("one", {"kid": f"invented-{number}"})).status_code == 401
    assert issuer.asked.count("/jwks") == 2


def test_while_the_issuer_is_away_known_keys_work_and_others_are_asked_to_wait(
    client: TestClient, issuer: Issuer, clock: list[float]
) -> None:
    assert speak(client, issuer.token("one")).status_code == 200
    issuer.add("two")
    issuer.answers["/jwks"] = (503, b"")
    clock[0] += oidc_keys.FRESH_S
    assert speak(client, issuer.token("one")).status_code == 200
    clock[0] += oidc_keys.PAUSE_S
    answer = speak(client, issuer.token("two"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert 1 <= int(answer.headers["Retry-After"]) <= oidc_keys.PAUSE_S
    assert speak(client, issuer.token("one")).status_code == 200
    issuer.answers.clear()
    clock[0] += oidc_keys.PAUSE_S
    assert speak(client, issuer.token("two")).status_code == 200


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/jwks", (200, b"{")),
        ("/jwks", (200, b"[]")),
        ("/jwks", (200, b'{"keys": []}')),
        ("/jwks", (200, b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "one"}, 7, {"kty": "RSA", "n": "!"}]}')),
        ("/jwks", (200, b" " * (oidc_keys.MOST_BYTES + 1))),
        ("/jwks", (302, b"")),
        ("/.well-known/openid-configuration", (200, b'{"issuer": "https://other.example.org"}')),
        ("/.well-known/openid-configuration", (404, b"")),
    ],
)
def test_an_issuer_that_answers_nonsense_is_away(
    client: TestClient, issuer: Issuer, path: str, answer: tuple[int, bytes]
) -> None:
    issuer.answers[path] = answer
    assert speak(client, issuer.token("one")).status_code == 503


def test_keys_by_plain_http_from_elsewhere_are_not_fetched(client: TestClient, issuer: Issuer) -> None:
    described = {"issuer": issuer.url, "jwks_uri": "http://keys.example.org/jwks"}
    issuer.answers["/.well-known/openid-configuration"] = (200, json.dumps(described).encode())
    assert speak(client, issuer.token("one")).status_code == 503


def test_without_key_ids_the_only_key_counts(issuer: Issuer, store: VoiceStore, settings: Settings) -> None:
    chosen = with_oidc(settings, issuer, jwks_url=f"{issuer.url}/jwks")
    with TestClient(scripted_app(store, chosen)) as client:
        assert speak(client, issuer.token("one", {})).status_code == 200
    assert issuer.asked == ["/jwks"]


def test_an_open_socket_does_not_speak_on_when_its_token_has_expired(
    client: TestClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(hours=1)

    with client.websocket_connect(SOCKET, headers=bearer(issuer.token("one"))) as socket:
        socket.send_json({"text": "Hello. ", "flush": True})
        assert socket.receive_json()["audio"]
        monkeypatch.setattr("jwt.api_jwt.datetime", Later)
        socket.send_json({"text": "More. ", "flush": True})
        socket.send_json({"text": ""})
        said = socket.receive_json()
        while "error" not in said and not said.get("isFinal"):
            said = socket.receive_json()
        assert said.get("error") == "invalid_token"
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert closed.value.code == 1008


def test_a_socket_takes_tokens(client: TestClient, issuer: Issuer) -> None:
    with client.websocket_connect(SOCKET, headers=bearer(issuer.token("one"))) as socket:
        socket.send_json({"text": "Hello. ", "flush": True})
        socket.send_json({"text": ""})
        assert socket.receive_json()["audio"]
    with client.websocket_connect(SOCKET, headers=bearer(issuer.token("one", exp=NOW - 3600))) as socket:
        said = socket.receive_json()
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert (said["error"], closed.value.code) == ("invalid_token", 1008)
