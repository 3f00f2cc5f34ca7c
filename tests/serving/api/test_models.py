"""``/v1/models``."""

from __future__ import annotations

from starlette.testclient import TestClient

from serving.api import build_app
from serving.engines.base import PendingRevision
from serving.metrics import LocalMetrics
from serving.selection import MODEL_ALIASES
from serving.settings import Settings
from serving.store.voices import VoiceStore
from tests.serving.api.scripted import ScriptedSpeech


def test_the_loaded_model_comes_first_and_its_aliases_say_what_they_stand_for(client: TestClient) -> None:
    answer = client.get("/v1/models").json()

    assert answer["object"] == "list"
    assert [model["id"] for model in answer["data"]] == ["espeak", *MODEL_ALIASES]
    for model in answer["data"]:
        assert (model["object"], model["root"], model["engine"]) == ("model", "espeak", "espeak")
        assert {"en", "de", "fr"} <= set(model["languages"])
        assert model["clones_voices"] is False
        assert client.get(f"/v1/models/{model['id']}").json() == model


def test_an_unknown_model_is_not_found_by_name(client: TestClient) -> None:
    answer = client.get("/v1/models/whisper-1")

    assert answer.status_code == 404
    assert answer.json()["error"]["param"] == "model"
    assert answer.json()["error"]["code"] == "model_not_found"


def test_what_was_promoted_and_does_not_speak_yet_is_said(store: VoiceStore, settings: Settings) -> None:
    engine = ScriptedSpeech()
    engine.pending = PendingRevision("r2", "failed")
    with TestClient(build_app(engine, store, settings, LocalMetrics())) as client:
        for model in client.get("/v1/models").json()["data"]:
            assert (model["revision"], model["pending"]) == ("r1", {"revision": "r2", "state": "failed"})
        engine.pending = None
    with TestClient(build_app(engine, store, settings, LocalMetrics())) as client:
        assert client.get("/v1/models/auto").json()["pending"] is None
