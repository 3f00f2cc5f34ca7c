"""``/v1/audio/voice_consents``: OpenAI's client keeps consents, makes voices by them and deletes both."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import ConflictError, NotFoundError, OpenAI
from starlette.testclient import TestClient

from serving.audio.wav import wav_bytes
from serving.settings import Settings
from serving.settings_groups import LimitSettings
from serving.store.voice_archive import ArchivedVoice, pack
from serving.store.voices import VoiceStore
from serving.voices import PreparedVoice, prepare_voice
from tests.audio_measure import tone
from tests.serving.api.guarded import bearer, new_key, scripted_app
from tests.serving.api.listing import files_below

ROUTE = "/v1/audio/voice_consents"
CONSENT_FILES = ("", "/consent.json", "/recording")
AGREEING = wav_bytes(tone(180, 2.0, 16000), 16000)
REFERENCE = ("ada.wav", wav_bytes(tone(220, 2.0, 16000), 16000), "audio/wav")


@pytest.fixture
def openai(client: TestClient) -> Iterator[OpenAI]:
    with OpenAI(api_key="none", base_url="http://testserver/v1", http_client=client, max_retries=0) as openai:
        yield openai


def agreed(openai: OpenAI, name: str = "Ada Example") -> str:
    return openai.audio.voice_consents.create(name=name, language="en-US", recording=("ada.wav", AGREEING)).id


def send(client: TestClient, recording: bytes = AGREEING, **fields: str) -> Any:
    data = {"name": "Ada", "language": "en-US", **fields}
    return client.post(ROUTE, data=data, files={"recording": ("a.wav", recording, "audio/wav")})


def error(answer: Any) -> tuple[int, str | None, str]:
    return answer.status_code, answer.json()["error"]["param"], answer.json()["error"]["code"]


def test_a_consent_is_kept_listed_renamed_and_deleted(openai: OpenAI, settings: Settings) -> None:
    before = files_below(settings.data)
    consents = openai.audio.voice_consents
    consent = consents.create(name="Ada Example", language="en-US", recording=("ada.wav", AGREEING))
    assert (consent.object, consent.name, consent.language) == ("audio.voice_consent", "Ada Example", "en-US")
    folder: Path = settings.data / "consents" / "default" / consent.id
    assert (folder / "recording").read_bytes() == AGREEING

    assert consents.retrieve(consent.id) == consent
    renamed = consents.update(consent.id, name="Ada E. Example")
    assert renamed == consent.model_copy(update={"name": "Ada E. Example"})
    assert list(consents.list()) == [renamed]

    gone = consents.delete(consent.id)
    assert (gone.id, gone.object, gone.deleted) == (consent.id, "audio.voice_consent", True)
    with pytest.raises(NotFoundError) as missing:
        consents.retrieve(consent.id)
    assert (missing.value.param, missing.value.code) == ("consent_id", "consent_not_found")
    assert files_below(settings.data) - {"consents/default"} == before


def test_the_client_goes_through_all_pages(openai: OpenAI) -> None:
    ids = {agreed(openai, f"Speaker {number}") for number in range(5)}
    found = [consent.id for consent in openai.audio.voice_consents.list(limit=2)]
    assert (len(found), set(found)) == (5, ids)


def test_a_voice_is_made_by_a_consent_which_stays_as_long_as_the_voice(openai: OpenAI, store: VoiceStore) -> None:
    consent = agreed(openai)
    voice = openai.audio.voices.create(name="Ada", audio_sample=REFERENCE, consent=consent)
    assert store.get("default", voice.id).consent == consent
    with pytest.raises(ConflictError, match=voice.id):
        openai.audio.voice_consents.delete(consent)
    openai.audio.voices.delete(voice.id)
    assert openai.audio.voice_consents.delete(consent).deleted


def test_a_voice_by_a_consent_that_is_not_there_is_refused_and_leaves_nothing(
    openai: OpenAI, client: TestClient, settings: Settings
) -> None:
    gone = agreed(openai)
    openai.audio.voice_consents.delete(gone)
    before = files_below(settings.data)
    for consent in (gone, "cons_1234"):
        with pytest.raises(NotFoundError) as missing:
            openai.audio.voices.create(name="Ada", audio_sample=REFERENCE, consent=consent)
        assert (missing.value.param, missing.value.code) == ("consent", "consent_not_found")
        fields = {"name": "Ada", "labels": json.dumps({"consent": consent})}
        answer = client.post("/elevenlabs/v1/voices/add", data=fields, files={"files": REFERENCE})
        assert (answer.status_code, answer.json()["detail"]["param"]) == (404, "consent")
    assert files_below(settings.data) == before


def test_a_voice_whose_consent_is_deleted_while_it_is_made_is_refused_and_leaves_nothing(
    openai: OpenAI, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    consent = agreed(openai)
    before = files_below(settings.data) - {f"consents/default/{consent}{file}" for file in CONSENT_FILES}

    def slow(*args: Any, **options: Any) -> PreparedVoice:
        openai.audio.voice_consents.delete(consent)
        return prepare_voice(*args, **options)

    monkeypatch.setattr("serving.api.voices.prepare_voice", slow)
    with pytest.raises(NotFoundError) as missing:
        openai.audio.voices.create(name="Ada", audio_sample=REFERENCE, consent=consent)
    assert (missing.value.param, missing.value.code) == ("consent", "consent_not_found")
    assert files_below(settings.data) == before


def test_a_consent_in_words_is_kept_as_it_is(openai: OpenAI, store: VoiceStore) -> None:
    voice = openai.audio.voices.create(name="Ada", audio_sample=REFERENCE, consent="cons_ent was given on paper")
    assert store.get("default", voice.id).consent == "cons_ent was given on paper"


def test_an_export_tells_the_consent_in_words_and_can_be_imported_elsewhere(
    openai: OpenAI, client: TestClient, store: VoiceStore
) -> None:
    consent = agreed(openai)
    voice = openai.audio.voices.create(name="Ada", audio_sample=REFERENCE, consent=consent)
    exported = client.get(f"/v1/audio/voices/{voice.id}/export").content
    with zipfile.ZipFile(io.BytesIO(exported)) as archive:
        told = json.loads(archive.read("manifest.json"))["consent"]
    assert told.startswith("Ada Example agreed in a recording of 2.0 s (en-US)")
    answer = client.post("/v1/audio/voices/import", data={"name": "Bob"}, files={"file": ("ada.zip", exported)})
    assert store.get("default", answer.json()["id"]).consent == told


def test_an_import_is_bound_to_no_consent_of_this_server_whatever_id_it_names(
    openai: OpenAI, client: TestClient, store: VoiceStore
) -> None:
    ours = agreed(openai)
    for name, consent in (("Ada", ours), ("Bob", "cons_1234"), ("Eve", "cons_" + "x" * 490)):
        data = pack(ArchivedVoice(name, None, None, consent, None, (REFERENCE[1],)))
        answer = client.post("/v1/audio/voices/import", files={"file": ("voice.zip", data)})
        assert answer.status_code == 200, answer.text
        assert store.get("default", name).consent == f"by the recording {consent[:80]}, kept elsewhere"
    assert openai.audio.voice_consents.delete(ours).deleted


@pytest.mark.parametrize(
    ("recording", "fields", "expected"),
    [
        (b"", {}, (400, "recording", "invalid_value")),
        (b"I agree.", {}, (400, "recording", "invalid_value")),
        (wav_bytes(tone(180, 0.2, 16000), 16000), {}, (400, "recording", "invalid_value")),
        (AGREEING, {"name": " "}, (400, "name", "invalid_value")),
        (AGREEING, {"name": "a" * 65}, (400, "name", "invalid_value")),
        (AGREEING, {"language": "in English"}, (400, "language", "invalid_value")),
        (AGREEING, {"language": "en_US"}, (400, "language", "invalid_value")),
    ],
    ids=["empty", "no audio", "short", "blank name", "long name", "words for a language", "underscore"],
)
def test_what_is_no_consent_is_refused_by_name_and_leaves_nothing(
    client: TestClient, settings: Settings, recording: bytes, fields: dict[str, str], expected: tuple[Any, ...]
) -> None:
    before = files_below(settings.data)
    assert error(send(client, recording, **fields)) == expected
    assert files_below(settings.data) == before


def test_a_recording_that_is_too_large_is_refused_by_name(store: VoiceStore, settings: Settings) -> None:
    few = settings.model_copy(update={"limits": LimitSettings(upload_bytes=len(AGREEING) - 1)})
    client = TestClient(scripted_app(store, few))
    assert error(send(client)) == (413, "recording", "payload_too_large")
    assert error(send(client, AGREEING * 10)) == (413, "recording", "payload_too_large")


def test_a_form_without_its_parts_is_refused_by_name(client: TestClient) -> None:
    assert error(client.post(ROUTE, data={"name": "Ada", "language": "en"}))[:2] == (400, "recording")
    assert error(client.get(ROUTE, params={"after": "nobody"})) == (404, "after", "consent_not_found")


def test_who_may_only_speak_sees_no_consents(store: VoiceStore, settings: Settings) -> None:
    app = scripted_app(store, settings)
    owner = TestClient(app, headers=bearer(new_key(store, "acme", "voices")[1]))
    speaker = TestClient(app, headers=bearer(new_key(store, "acme", "speech")[1]))
    consent = send(owner).json()["id"]
    for path in (ROUTE, f"{ROUTE}/{consent}"):
        assert owner.get(path).status_code == 200
        assert speaker.get(path).status_code == 403
    assert send(speaker).status_code == 403


def test_what_is_done_to_consents_is_audited_without_a_name(store: VoiceStore, settings: Settings) -> None:
    client = TestClient(scripted_app(store, settings), headers=bearer(new_key(store, "acme")[1]))
    consent = send(client).json()["id"]
    client.post(f"{ROUTE}/{consent}", json={"name": "Ada E. Example"})
    client.delete(f"{ROUTE}/{consent}")
    entries = client.get("/v1/audit", params={"object_id": consent}).json()["data"]
    assert [each["action"] for each in entries] == ["consent.delete", "consent.update", "consent.create"]
    assert "Ada" not in json.dumps(entries)
