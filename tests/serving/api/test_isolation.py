"""No tenant sees, uses or deletes what another has: asked of every operation there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from serving.api.access import rule
from serving.audio.wav import wav_bytes
from serving.settings import Settings
from serving.store.database import Database
from serving.store.voice_archive import ArchivedVoice, pack
from serving.store.voices import VoiceStore
from serving.store.volume import Volume
from tests.audio_measure import tone
from tests.serving.api.guarded import Probe, bearer, new_key, scripted_app
from tests.serving.api.scripted_converter import GOOD
from tests.serving.api.standin import StandIn
from tests.serving.api.training_client import DATASETS, RUNS, TEXT, WAIT_S, WAV, add_weights, ready_dataset, start

OPEN = {"healthz", "readyz", "metrics"}
"""Answered to everybody; they say nothing about tenants."""

SHARED = {"list_models", "get_model", "elevenlabs_models", "elevenlabs_default_settings"}
"""The same for all tenants."""

LISTS = {
    "list_voices", "list_conversion_models", "list_profiles", "list_datasets", "list_training_runs", "list_jobs",
    "list_keys", "list_voice_consents", "elevenlabs_voices", "elevenlabs_search_voices",
}  # fmt: skip

OWN_DEEDS = {"list_audit"}
"""What one's own keys did, with the ids that they tried; see test_audit.py."""

RECORDING = ("a.wav", wav_bytes(tone(220, 2.0, 16000), 16000), "audio/wav")
EXPORTED = pack(ArchivedVoice("Ada", None, None, None, None, (RECORDING[1],)))
SAID = {"model": "auto", "input": "Hello.", "voice": "one"}
SPOKEN = {"text": "Hello."}

CREATES = {
    "create_voice": Probe(data={"name": "Ada"}, files={"audio_sample": RECORDING}),
    "import_voice": Probe(data={"name": "Cleo"}, files={"file": ("a.zip", EXPORTED)}),
    "elevenlabs_add_voice": Probe(data={"name": "Bob"}, files={"files": RECORDING}),
    "create_voice_consent": Probe(data={"name": "Ada", "language": "en-US"}, files={"recording": RECORDING}),
    "create_conversion_model": Probe(data={"name": "Ada"}, files={"file": ("a.pth", GOOD)}),
    "create_profile": Probe(json={"name": "Ada"}),
    "create_dataset": Probe(data={"name": "Ada", "language": "en", "consent": "yes"}, files=[WAV, TEXT]),
    "create_job": Probe(json={"text": "Hello."}),
    "create_key": Probe(json={"name": "Ada", "scopes": ["speech"]}),
}
"""What a tenant makes although another has one of the same name."""

HIDDEN = {
    "create_speech": [
        Probe(json={**SAID, "voice": "{voice}"}),
        Probe(json={**SAID, "profile": "{profile}"}),
        Probe(json={**SAID, "conversion": {"model": "{model}"}}),
    ],
    "create_conversion": [Probe(data={"model": "{model}"}, files={"file": RECORDING})],
    "get_voice_consent": [Probe()],
    "update_voice_consent": [Probe(json={"name": "mine"})],
    "delete_voice_consent": [Probe()],
    "get_voice": [Probe("/v1/audio/voices/{voice}")],
    "delete_voice": [Probe("/v1/audio/voices/{voice}")],
    "get_pronunciations": [Probe("/v1/audio/voices/{voice}/pronunciations")],
    "replace_pronunciations": [Probe("/v1/audio/voices/{voice}/pronunciations", json={"pronunciations": []})],
    "delete_pronunciations": [Probe("/v1/audio/voices/{voice}/pronunciations")],
    "export_voice": [Probe("/v1/audio/voices/{voice}/export")],
    "get_conversion_model": [Probe()],
    "delete_conversion_model": [Probe()],
    "get_profile": [Probe()],
    "replace_profile": [Probe(json={"name": "mine"})],
    "delete_profile": [Probe()],
    "set_default_profile": [Probe(json={"profile": "{profile}"})],
    "elevenlabs_speech": [Probe("/elevenlabs/v1/text-to-speech/{voice}", json=SPOKEN)],
    "elevenlabs_speech_stream": [Probe("/elevenlabs/v1/text-to-speech/{voice}/stream", json=SPOKEN)],
    "elevenlabs_conversion": [Probe("/elevenlabs/v1/speech-to-speech/{model}", files={"audio": RECORDING})],
    "elevenlabs_conversion_stream": [
        Probe("/elevenlabs/v1/speech-to-speech/{model}/stream", files={"audio": RECORDING})
    ],
    "elevenlabs_voice": [Probe("/elevenlabs/v1/voices/{voice}")],
    "elevenlabs_delete_voice": [Probe("/elevenlabs/v1/voices/{voice}")],
    "add_dataset_files": [Probe(files=[WAV])],
    "get_dataset": [Probe()],
    "get_dataset_report": [Probe()],
    "delete_dataset": [Probe()],
    "create_training_run": [Probe(json={"dataset": "{dataset}", "settings": {"epochs": 1}})],
    "get_training_run": [Probe()],
    "cancel_training_run": [Probe()],
    "resume_training_run": [Probe()],
    "delete_training_run": [Probe()],
    "get_training_logs": [Probe(), Probe(f"{RUNS}/{{run}}/logs?follow=true")],
    "get_training_evaluation": [Probe()],
    "list_training_samples": [Probe()],
    "get_training_sample": [Probe(f"{RUNS}/{{run}}/samples/a.wav")],
    "promote_training_run": [Probe()],
    "rollback_training_run": [Probe()],
    "get_key": [Probe()],
    "revoke_key": [Probe()],
    "create_job": [
        Probe(json={"text": "Hello.", "voice": "{voice}"}),
        Probe(json={"items": [{"text": "Hello.", "voice": "{voice}"}]}),
        Probe(json={"text": "Hello.", "profile": "{profile}"}),
    ],
    "get_job": [Probe()],
    "cancel_job": [Probe()],
    "retry_job": [Probe()],
    "delete_job": [Probe()],
    "list_job_items": [Probe()],
    "get_job_audio": [Probe()],
    "get_job_subtitles": [Probe()],
    "get_job_item_audio": [Probe("/v1/jobs/{job}/items/1/audio")],
}
"""Requests that name something of another tenant, by id and by name: there is no such thing."""

MINE = {
    "voice": "/v1/audio/voices/{voice}",
    "consent": "/v1/audio/voice_consents/{consent}",
    "model": "/v1/conversion-models/{model}",
    "profile": "/v1/profiles/{profile}",
    "dataset": f"{DATASETS}/{{dataset}}",
    "run": f"{RUNS}/{{run}}",
    "key": "/v1/keys/{key}",
    "job": "/v1/jobs/{job}",
}


class World:
    """Tenant acme has one of everything, all by the name of Ada; ``other`` belongs to somebody else."""

    def __init__(self, store: VoiceStore, settings: Settings, launcher: StandIn) -> None:
        add_weights(settings)
        self.app = scripted_app(store, settings, launcher)
        self.operations = {
            operation["operationId"]: (method.upper(), path)
            for path, methods in self.app.openapi()["paths"].items()
            for method, operation in methods.items()
        }
        made, text = new_key(store, "acme")
        self.owner = TestClient(self.app, headers=bearer(text))
        self.other = TestClient(self.app, headers=bearer(new_key(store, "other")[1]))
        self.ids = {"key": made.id, "dataset": ready_dataset(self.owner)["id"]}
        self.ids["run"] = start(self.owner, epochs=1000, name="Ada").json()["id"]
        for kind, operation in [
            ("voice", "create_voice"), ("model", "create_conversion_model"), ("profile", "create_profile"),
            ("job", "create_job"), ("consent", "create_voice_consent"),
        ]:  # fmt: skip
            self.ids[kind] = self.create(operation, self.owner).json()["id"]
        self.names = dict.fromkeys(self.ids, "Ada")

    def create(self, operation: str, client: TestClient) -> Any:
        answer = CREATES[operation].send(client, *self.operations[operation], {})
        assert answer.status_code == 200, answer.text
        return answer

    def check_nothing_is_lost(self) -> None:
        """Everything of acme's is as it was."""
        for kind, route in MINE.items():
            card = self.owner.get(route.replace(f"{{{kind}}}", self.ids[kind]))
            assert card.status_code == 200, (kind, card.text)
            assert card.json().get("state") not in ("cancelled", "revoked")
            assert card.json().get("reason", "") == ""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root: Path = tmp_path_factory.mktemp("isolation")
    volume = Volume(root)
    volume.create()
    database = Database.for_volume(None, root)
    database.migrate()
    launcher = StandIn(root / "launch")
    yield World(VoiceStore(volume, database), Settings(data=root), launcher)
    launcher.stop_all(WAIT_S)
    database.close()


def test_every_operation_is_asked_and_has_a_rule(world: World) -> None:
    assert set(world.operations) == OPEN | SHARED | LISTS | OWN_DEEDS | set(CREATES) | set(HIDDEN)
    sockets = {route.name for route in _routes(world.app) if isinstance(route, WebSocketRoute)}
    assert sockets == {"elevenlabs_stream_input"}
    assert [path for _, path in world.operations.values() if rule(path) is None] == []


def _routes(app: FastAPI) -> list[Any]:
    found: list[Any] = []
    waiting = list(app.routes)
    while waiting:
        route = waiting.pop()
        included = getattr(route, "original_router", None)
        waiting += included.routes if included is not None else []
        found.append(route)
    return found


@pytest.mark.parametrize("operation", sorted(HIDDEN))
def test_what_another_tenant_has_does_not_exist(world: World, operation: str) -> None:
    method, path = world.operations[operation]
    for probe in HIDDEN[operation]:
        for names in (world.ids, world.names):
            answer = probe.send(world.other, method, path, names)
            assert answer.status_code == 404, (probe, answer.text)
            unknown = probe.send(world.other, method, path, dict.fromkeys(names, "nobody"))
            assert _code(answer) == _code(unknown)
    world.check_nothing_is_lost()


def _code(answer: Any) -> str:
    body = answer.json()
    return str(body["error"]["code"] if "error" in body else body["detail"]["status"])


@pytest.mark.parametrize("operation", sorted(LISTS))
def test_lists_are_of_ones_own(world: World, operation: str) -> None:
    method, path = world.operations[operation]
    mine, theirs = (Probe().send(client, method, path, {}) for client in (world.owner, world.other))
    assert (mine.status_code, theirs.status_code) == (200, 200)
    assert any(identity in mine.text for identity in world.ids.values())
    for identity in world.ids.values():
        assert identity not in theirs.text


def test_pages_of_a_list_do_not_begin_behind_what_others_have(world: World) -> None:
    for route, kind in ((DATASETS, "dataset"), (RUNS, "run"), ("/v1/audio/voice_consents", "consent")):
        assert world.owner.get(route, params={"after": world.ids[kind]}).status_code == 200
        assert world.other.get(route, params={"after": world.ids[kind]}).status_code == 404


def test_a_voice_is_not_made_by_anothers_consent(world: World) -> None:
    for consent in (world.ids["consent"], "cons_nobody"):
        made = Probe(data={"name": "Eve", "consent": consent}, files={"audio_sample": RECORDING})
        answer = made.send(world.other, "POST", "/v1/audio/voices", {})
        assert (answer.status_code, answer.json()["error"]["param"], _code(answer)) == (
            (404, "consent", "consent_not_found")
        )


def test_a_socket_does_not_speak_with_anothers_voice(world: World) -> None:
    for voice in (world.ids["voice"], "Ada"):
        route = f"/elevenlabs/v1/text-to-speech/{voice}/stream-input"
        with world.other.websocket_connect(route) as socket:
            said = socket.receive_json()
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_json()
        assert (said["error"], closed.value.code) == ("voice_not_found", 1008)


def test_names_are_ones_own(store: VoiceStore, settings: Settings) -> None:
    launcher = StandIn(settings.data / "launch")
    try:
        world = World(store, settings, launcher)
        for operation in sorted(CREATES):
            assert world.create(operation, world.other).json() != {}
        owned = [world.owner.get(route).text for route in ("/v1/audio/voices", "/v1/profiles", "/v1/conversion-models")]
        other = [world.other.get(route).text for route in ("/v1/audio/voices", "/v1/profiles", "/v1/conversion-models")]
        for mine, theirs in zip(owned, other, strict=True):
            assert '"Ada"' in mine
            assert '"Ada"' in theirs
            assert mine != theirs
        world.other.put("/v1/profiles/default", json={"profile": "Ada"})
        assert not any(card["default"] for card in world.owner.get("/v1/profiles").json()["data"])
    finally:
        launcher.stop_all(WAIT_S)


@pytest.mark.parametrize("asked", ["open", "shared"])
def test_what_is_the_same_for_all_names_nobody(world: World, asked: str) -> None:
    client = TestClient(world.app) if asked == "open" else world.other
    for operation in OPEN if asked == "open" else SHARED:
        method, path = world.operations[operation]
        answer = client.request(method, path.replace("{model}", "auto"))
        assert answer.status_code == 200, operation
        assert not any(identity in answer.text for identity in world.ids.values())
        assert "acme" not in answer.text


def test_no_key_no_answer(world: World) -> None:
    stranger = TestClient(world.app)
    for operation in set(world.operations) - OPEN:
        method, path = world.operations[operation]
        answer = stranger.request(method, path)
        assert (answer.status_code, _code(answer)) == (401, "invalid_api_key"), operation
