"""``/v1/audio/voices``: upload, list, speak, delete; and every upload that is refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from starlette.testclient import TestClient

from serving.settings import Settings
from serving.settings_groups import VoiceSettings
from serving.store.voices import VoiceStore
from tests.audio_measure import is_silent
from tests.serving.api.listing import files_below
from tests.serving.api.scripted import ScriptedSpeech, chunk
from tests.serving.api.voice_uploads import scripted, upload


def test_a_voice_is_uploaded_listed_spoken_with_and_deleted(client: TestClient, settings: Settings) -> None:
    before = files_below(settings.data)
    card = upload(client, language="en", description="A tone", consent="mine").json()

    assert card["object"] == "audio.voice"
    assert (card["name"], card["type"], card["language"], card["description"]) == (
        "Ada",
        "audio_sample",
        "en",
        "A tone",
    )
    assert card["reference_seconds"] == pytest.approx(2.0, abs=0.01)
    assert card in client.get("/v1/audio/voices").json()["voices"]
    assert client.get(f"/v1/audio/voices/{card['id']}").json() == card
    assert client.get("/v1/audio/voices/Ada").json() == card

    for voice in (card["id"], "Ada", {"id": card["id"]}):
        response = client.post(
            "/v1/audio/speech", json={"model": "tts-1", "input": "Hello.", "voice": voice, "response_format": "pcm"}
        )
        assert "does not clone" in response.headers["x-kubevoice-warning"]
        assert not is_silent(np.frombuffer(response.content, "<i2").astype(np.float32) / np.float32(32768))

    deleted = client.delete(f"/v1/audio/voices/{card['id']}").json()
    assert deleted == {"id": card["id"], "object": "audio.voice.deleted", "deleted": True}
    assert client.get(f"/v1/audio/voices/{card['id']}").status_code == 404
    assert client.delete(f"/v1/audio/voices/{card['id']}").status_code == 404
    speech = client.post("/v1/audio/speech", json={"model": "tts-1", "input": "Hello.", "voice": card["id"]})
    assert (speech.status_code, speech.json()["error"]["code"]) == (404, "voice_not_found")
    left = {path for path in files_below(settings.data) - before if not path.startswith(".trash")}
    assert left == {"voices/default"}


def test_an_engine_that_clones_gets_the_reference_and_no_warning_is_given(
    store: VoiceStore, settings: Settings
) -> None:
    engine = ScriptedSpeech(chunk())
    client = scripted(engine, store, settings)
    card = upload(client, language="de").json()

    response = client.post("/v1/audio/speech", json={"model": "auto", "input": "Hallo.", "voice": "Ada"})

    assert "x-kubevoice-warning" not in response.headers
    request = engine.requests[0]
    assert (request.voice.id, request.language) == (card["id"], "de")
    assert [path.is_file() for path in request.voice.references] == [True]
    assert engine.prepared == [request.voice]


def test_the_list_has_presets_openais_names_and_configured_aliases_and_each_can_be_shown(
    store: VoiceStore, settings: Settings
) -> None:
    settings = settings.model_copy(update={"voices": VoiceSettings(aliases={"narrator": "one"})})
    client = scripted(ScriptedSpeech(), store, settings)
    voices = client.get("/v1/audio/voices").json()["voices"]

    ids = [voice["id"] for voice in voices]
    assert {"one", "two", "default", "alloy", "cedar", "narrator"} <= set(ids)
    assert len(ids) == len(set(ids))
    for voice in voices:
        assert client.get(f"/v1/audio/voices/{voice['id']}").json() == voice


def test_without_presets_no_alias_is_promised_and_openais_names_say_what_to_do(
    store: VoiceStore, settings: Settings
) -> None:
    engine = ScriptedSpeech(chunk())
    engine.presets = ()
    client = scripted(engine, store, settings)

    assert client.get("/v1/audio/voices").json()["voices"] == []
    answer = client.post("/v1/audio/speech", json={"model": "auto", "input": "Hi.", "voice": "alloy"})
    assert answer.status_code == 400
    assert "upload a voice" in answer.json()["error"]["message"]


BAD_NAMES = [
    "../../etc/passwd", "..", ".", "/etc/passwd", "a/b", "..\\..\\x", "C:\\x", "a..b", "%2e%2e%2f", "a\0b", "\n",
    " a", "\u202eevil", "a\u200bb", "voice_" + "0" * 24, "'; DROP TABLE voices; --", "<script>", "x" * 65, "💥", "-rf",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_bad_name_is_refused_and_leaves_nothing(client: TestClient, settings: Settings, name: str) -> None:
    before = files_below(settings.data)
    response = upload(client, name)

    assert (response.status_code, response.json()["error"]["param"]) == (400, "name"), response.text
    assert files_below(settings.data) == before


@pytest.mark.parametrize("name", ["default", "DEFAULT", "alloy", "Alloy", "f1", "F1", "cedar"])
def test_a_built_in_name_is_taken(client: TestClient, settings: Settings, name: str) -> None:
    before = files_below(settings.data)
    response = upload(client, name)

    assert (response.status_code, response.json()["error"]["param"]) == (409, "name")
    assert files_below(settings.data) == before


@pytest.mark.parametrize("again", ["Zoe\u0301", "Zo\u00e9"])
def test_a_name_can_be_used_once_in_any_spelling(client: TestClient, settings: Settings, again: str) -> None:
    assert upload(client, "Zo\u00e9").status_code == 200
    before = files_below(settings.data)
    response = upload(client, again)

    assert (response.status_code, response.json()["error"]["param"]) == (409, "name")
    assert files_below(settings.data) == before


def test_uploads_of_one_name_at_once_store_one_voice(client: TestClient, settings: Settings) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(6) as threads:
        statuses = [answer.status_code for answer in threads.map(lambda _: upload(client), range(6))]

    assert sorted(statuses) == [200] + [409] * 5
    assert len(list((settings.data / "voices" / "default").iterdir())) == 1
    assert not list((settings.data / ".staging").iterdir())


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"language": "klingon"}, "language"),
        ({"language": "../en"}, "language"),
        ({"language": "e"}, "language"),
        ({"description": "x" * 501}, "description"),
        ({"description": "a\0b"}, "description"),
        ({"consent": "x" * 501}, "consent"),
        ({"type": "preset"}, "type"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_bad_form_field_is_refused_by_name(
    client: TestClient, settings: Settings, fields: dict[str, Any], param: str
) -> None:
    before = files_below(settings.data)
    response = upload(client, **fields)

    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text
    assert files_below(settings.data) == before


@pytest.mark.parametrize(
    "voice_id", ["../../secret", "%2e%2e%2fsecret", "..", "/etc/passwd", "..\\secret", "a\0b", "\u202e", "x" * 3000]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_path_for_an_id_finds_nothing(client: TestClient, settings: Settings, method: str, voice_id: str) -> None:
    upload(client)
    before = files_below(settings.data)

    for path in {quote(voice_id, safe=""), quote(voice_id, safe="%")}:
        response = client.request(method, f"/v1/audio/voices/{path}")
        assert response.status_code in (404, 405)
        assert len(response.text) < 600
    assert files_below(settings.data) == before


@pytest.mark.parametrize("voice_id", ["alloy", "default", "f1", "F1"])
def test_a_built_in_voice_cannot_be_deleted(client: TestClient, voice_id: str) -> None:
    response = client.delete(f"/v1/audio/voices/{voice_id}")

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "voice_id"


def test_a_language_may_have_a_region_as_in_speech(store: VoiceStore, settings: Settings) -> None:
    with scripted(ScriptedSpeech(chunk()), store, settings) as client:
        assert upload(client, language="de-AT").json()["language"] == "de-AT"
        assert upload(client, name="Eve", language="klingon").json()["error"]["param"] == "language"
