"""``/v1/profiles``, and ``profile`` of a speech request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from serving.api import build_app
from serving.engines.base import SpeechRequest
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.store.voices import VoiceStore
from tests.serving.api.scripted import ScriptedSpeech, chunk

ROUTE = "/v1/profiles"


@pytest.fixture
def engine() -> ScriptedSpeech:
    return ScriptedSpeech(chunk(0.2))


@pytest.fixture
def scripted(engine: ScriptedSpeech, store: VoiceStore, settings: Settings) -> Iterator[TestClient]:
    with TestClient(build_app(engine, store, settings, LocalMetrics())) as client:
        yield client


def asked(client: TestClient, engine: ScriptedSpeech, **fields: object) -> SpeechRequest:
    answer = client.post("/v1/audio/speech", json={"model": "auto", "voice": "one", "input": "Hello.", **fields})
    assert answer.status_code == 200, answer.text
    return engine.requests[-1]


def test_a_profile_is_added_shown_changed_and_deleted(scripted: TestClient) -> None:
    made = scripted.post(ROUTE, json={"name": "narrator", "temperature": 0.6, "speed": 0.9}).json()
    assert (made["built_in"], made["default"], made["top_k"]) == (False, False, None)
    assert scripted.get(f"{ROUTE}/narrator").json() == made
    names = [each["name"] for each in scripted.get(ROUTE).json()["data"]]
    assert names == ["balanced", "expressive", "stable", "narrator"]
    changed = scripted.put(f"{ROUTE}/{made['id']}", json={"name": "narrator", "top_p": 0.8}).json()
    assert (changed["temperature"], changed["top_p"], changed["speed"]) == (None, 0.8, 1.0)
    assert scripted.delete(f"{ROUTE}/narrator").json()["id"] == made["id"]
    gone = scripted.get(f"{ROUTE}/narrator")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "profile_not_found")


def test_a_profile_says_what_the_request_does_not(scripted: TestClient, engine: ScriptedSpeech) -> None:
    scripted.post(ROUTE, json={"name": "narrator", "temperature": 0.6, "top_k": 30, "speed": 0.9})
    request = asked(scripted, engine, profile="narrator", top_k=80)
    assert (request.sampling.temperature, request.sampling.top_k, request.sampling.top_p) == (0.6, 80, None)
    assert request.speed == 0.9
    assert asked(scripted, engine, profile="narrator", speed=1.0).speed == 1.0


def test_without_a_default_the_model_speaks_as_it_is(scripted: TestClient, engine: ScriptedSpeech) -> None:
    request = asked(scripted, engine)
    assert (request.sampling.temperature, request.speed) == (None, 1.0)


def test_the_default_is_used_in_both_apis_until_it_is_taken_away(scripted: TestClient, engine: ScriptedSpeech) -> None:
    cards = scripted.put(f"{ROUTE}/default", json={"profile": "expressive"}).json()["data"]
    assert [card["name"] for card in cards if card["default"]] == ["expressive"]
    assert asked(scripted, engine).sampling.temperature == 0.85
    assert asked(scripted, engine, profile="stable").sampling.temperature == 0.7
    scripted.post("/elevenlabs/v1/text-to-speech/one", json={"text": "Hi.", "voice_settings": {"stability": 1}})
    request = engine.requests[-1]
    assert (request.sampling.temperature, request.sampling.top_k, request.speed) == (0.5, 60, 0.98)
    scripted.put(f"{ROUTE}/default", json={"profile": None})
    assert asked(scripted, engine).sampling.temperature is None


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", "", {"name": "x", "temperature": 3}, 400, "temperature"),
        ("POST", "", {"name": "x", "pitch": 3}, 400, "pitch"),
        ("POST", "", {"name": "stable"}, 409, "name"),
        ("POST", "", {"name": "../x"}, 400, "name"),
        ("PUT", "/stable", {"name": "x"}, 409, "profile"),
        ("DELETE", "/stable", None, 409, "profile"),
        ("PUT", "/default", {"profile": "nobody"}, 404, "profile"),
        ("PUT", "/default", {}, 400, "profile"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    scripted: TestClient, method: str, path: str, body: dict[str, object] | None, status: int, param: str
) -> None:
    answer = scripted.request(method, ROUTE + path, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_an_unknown_profile_is_refused_before_anything_is_spoken(scripted: TestClient, engine: ScriptedSpeech) -> None:
    body = {"model": "auto", "voice": "one", "input": "Hello.", "profile": "nobody"}
    answer = scripted.post("/v1/audio/speech", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "profile")
    assert engine.requests == []
