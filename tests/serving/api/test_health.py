"""``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from serving.api import build_app, health
from serving.errors import EngineError, Unavailable
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.store.voices import VoiceStore
from tests.serving.api.scripted import ScriptedSpeech, chunk

Build = Callable[[ScriptedSpeech], TestClient]


@pytest.fixture
def build(store: VoiceStore, settings: Settings) -> Build:
    return lambda engine: TestClient(build_app(engine, store, settings, LocalMetrics()))


def test_ready_names_what_speaks(client: TestClient) -> None:
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    assert (answer.json()["engine"], answer.json()["device"]) == ("espeak", "cpu")


@pytest.mark.parametrize("error", [Unavailable("loading", 7), EngineError("the replica died")])
def test_an_engine_that_is_down_is_not_ready_but_the_process_lives(build: Build, error: Exception) -> None:
    engine = ScriptedSpeech()
    engine.check_error = error
    client = build(engine)

    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == str(error)
    assert int(answer.headers["retry-after"]) >= 1
    assert client.get("/healthz").json() == {"status": "ok"}

    engine.check_error = None
    assert client.get("/readyz").status_code == 200


def test_scaled_to_zero_is_ready_and_asks_nothing_that_would_start_a_replica(build: Build) -> None:
    engine = ScriptedSpeech()
    engine.sleeps = True
    client = build(engine)

    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"], answer.json()["model"]) == (200, "ready", None)
    assert "the next request starts one" in answer.json()["detail"]
    assert engine.asked == 0

    engine.sleeps = False
    assert client.get("/readyz").json()["detail"] is None
    engine.sleeps = True
    answer = client.get("/readyz")
    assert (answer.json()["model"], answer.json()["engine"]) == ("scripted", "scripted")
    assert "the next request starts one" in answer.json()["detail"]


def test_an_engine_that_hangs_is_not_ready(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "READY_TIMEOUT_S", 0.05)
    engine = ScriptedSpeech()
    engine.hangs = True

    answer = build(engine).get("/readyz")
    assert answer.status_code == 503
    assert "0.05 s" in answer.json()["error"]["message"]


def test_metrics_rise_with_what_is_served_and_refused(build: Build) -> None:
    client = build(ScriptedSpeech(chunk(1.0), chunk(2.0)))
    good = {"model": "auto", "input": "Hi.", "voice": "one"}
    for body in (good, {**good, "voice": "nobody"}, {**good, "speed": 0}, {**good, "model": "gpt-4"}):
        client.post("/v1/audio/speech", json=body)
    client.get("/nowhere")
    client.request("BREW", "/v1/audio/speech")

    answer = client.get("/metrics")
    lines = set(answer.text.splitlines())
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert lines >= {
        'kubevoice_requests_total{method="POST",route="/v1/audio/speech",status="200"} 1.0',
        'kubevoice_requests_total{method="POST",route="/v1/audio/speech",status="400"} 1.0',
        'kubevoice_requests_total{method="POST",route="/v1/audio/speech",status="404"} 2.0',
        'kubevoice_requests_total{method="GET",route="unmatched",status="404"} 1.0',
        'kubevoice_requests_total{method="other",route="/v1/audio/speech",status="405"} 1.0',
        'kubevoice_request_seconds_count{method="POST",route="/v1/audio/speech"} 4.0',
        'kubevoice_refusals_total{reason="voice_not_found"} 1.0',
        'kubevoice_refusals_total{reason="model_not_found"} 1.0',
        'kubevoice_refusals_total{reason="invalid_value"} 1.0',
        'kubevoice_refusals_total{reason="not_found"} 1.0',
        'kubevoice_refusals_total{reason="method_not_allowed"} 1.0',
        'kubevoice_audio_seconds_total{format="mp3",model="scripted"} 3.0',
        'kubevoice_first_audio_seconds_count{format="mp3",model="scripted"} 1.0',
        'kubevoice_real_time_factor_count{model="scripted"} 1.0',
    }


def test_what_a_client_invents_makes_no_new_time_series(build: Build) -> None:
    client = build(ScriptedSpeech())
    for number in range(20):
        client.request(f"METHOD{number}", f"/path/{number}", headers={"X-Request-ID": f"id-{number}"})
    client.get("/v1/models/first")
    client.get("/v1/models/second")

    text = client.get("/metrics").text
    assert not [line for line in text.splitlines() if "METHOD" in line or "/path" in line or "id-" in line]
    assert 'kubevoice_requests_total{method="GET",route="/v1/models/{model}",status="404"} 2.0' in text
