"""Scripts of other origins: let in as ``http.cors_origins`` says, and told why they are refused."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from serving.errors import ConfigurationError
from serving.settings import Settings, load_settings
from serving.settings_groups import HttpSettings, QuotaSettings
from serving.store.voices import VoiceStore
from tests.serving.api.guarded import bearer, new_key, scripted_app

PAGE = "https://app.example.org"
SPEECH = {"model": "auto", "input": "Hello.", "voice": "one"}
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type"}


def client(store: VoiceStore, settings: Settings, origins: str, *, from_: str = PAGE) -> TestClient:
    own = settings.model_copy(update={"http": HttpSettings(cors_origins=origins)})
    return TestClient(scripted_app(store, own), headers={"Origin": from_})


def test_a_preflight_needs_no_key(store: VoiceStore, settings: Settings) -> None:
    new_key(store)
    answer = client(store, settings, f"http://localhost:5173 {PAGE}").options("/v1/audio/speech", headers=PREFLIGHT)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("origins", [PAGE, "*"])
def test_answers_and_refusals_can_be_read_with_our_headers(store: VoiceStore, settings: Settings, origins: str) -> None:
    _, key = new_key(store)
    page = client(store, settings, origins)
    for answer, status in (
        (page.post("/v1/audio/speech", json=SPEECH, headers=bearer(key)), 200),
        (page.post("/v1/audio/speech", json=SPEECH), 401),
        (page.get("/v1/nothing", headers=bearer(key)), 404),
        (page.post("/v1/audio/speech", content=b"a" * 10**6, headers=bearer(key)), 413),
    ):
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, origins)
        exposed = answer.headers["Access-Control-Expose-Headers"]
        ours = [name for name in answer.headers if name.startswith(("x-kubevoice", "x-request"))]
        assert ours
        assert set(ours) <= {name.strip().lower() for name in exposed.split(",")}


def test_headers_about_quotas_can_be_read(store: VoiceStore, settings: Settings) -> None:
    own = settings.model_copy(update={"quotas": QuotaSettings(requests_per_minute=1)})
    page = client(store, own, PAGE)
    page.post("/v1/audio/speech", json=SPEECH)
    answer = page.post("/v1/audio/speech", json=SPEECH)
    assert answer.status_code == 429
    exposed = answer.headers["Access-Control-Expose-Headers"].lower()
    for name in answer.headers:
        assert not name.startswith("x-") or name in exposed
    assert "retry-after" in exposed


@pytest.mark.parametrize(("origins", "from_"), [("", PAGE), (PAGE, "https://evil.example.org"), (PAGE, "null")])
def test_other_pages_are_told_nothing(store: VoiceStore, settings: Settings, origins: str, from_: str) -> None:
    page = client(store, settings, origins, from_=from_)
    assert "Access-Control-Allow-Origin" not in page.post("/v1/audio/speech", json=SPEECH).headers
    preflight = page.options("/v1/audio/speech", headers=PREFLIGHT)
    assert preflight.status_code in (400, 405)
    assert "Access-Control-Allow-Origin" not in preflight.headers


@pytest.mark.parametrize("origin", ["app.example.org", "https://app.example.org/", "https://*.example.org", "'*'"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="is no origin"):
        load_settings({"http": {"cors_origins": f"http://localhost:3000 {origin}"}})


def test_addresses_are_origins_too() -> None:
    load_settings({"http": {"cors_origins": "http://127.0.0.1:3000 http://[::1]:3000 https://app.example.org *"}})
