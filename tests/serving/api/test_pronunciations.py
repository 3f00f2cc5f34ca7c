"""The dictionary of a voice, and that every route speaks by it. Espeak says the same text alike."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.api import build_app
from serving.engines.espeak import EspeakEngine
from serving.engines.spoken import spoken_text
from serving.jobs.speaking import speak
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.settings_groups import VoiceSettings
from serving.store.voices import VoiceStore
from tests.serving.api.guarded import bearer, new_key, scripted_app
from tests.serving.api.scripted import ScriptedSpeech, chunk
from tests.serving.api.voice_uploads import upload
from tests.serving.jobs.workbench import claimed

PATH = "/v1/audio/voices/Ada/pronunciations"
ENTRIES = [
    {"word": "kubectl", "spoken": "cube control"},
    {"word": "SQL", "spoken": "sequel", "language": "en", "case_sensitive": True},
]


@pytest.fixture
def voice(client: TestClient) -> str:
    card: dict[str, Any] = upload(client).json()
    return str(card["id"])


def listed(client: TestClient, path: str = PATH) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(path).json()["pronunciations"]
    return [{key: value for key, value in each.items() if value not in {None, False}} for each in found]


def said(client: TestClient, text: str, **fields: Any) -> bytes:
    body = {"model": "auto", "input": text, "voice": "Ada", "response_format": "pcm", **fields}
    response = client.post("/v1/audio/speech", json=body)
    assert response.status_code == 200, response.text
    return response.content


def test_what_was_put_is_got_until_it_is_deleted(client: TestClient, voice: str) -> None:
    assert listed(client) == []
    put = client.put(PATH, json={"pronunciations": ENTRIES})
    assert put.status_code == 200
    assert listed(client, f"/v1/audio/voices/{voice}/pronunciations") == ENTRIES
    assert client.put(PATH, json=client.get(PATH).json()).json() == put.json()
    assert client.delete(PATH).json() == {
        "id": voice,
        "object": "audio.voice.pronunciations.deleted",
        "deleted": True,
    }
    assert listed(client) == []
    assert client.delete(PATH).status_code == 200


def test_every_route_speaks_by_the_voice_s_dictionary(client: TestClient, voice: str) -> None:
    plain, wanted = said(client, "Run kubectl now."), said(client, "Run cube control now.")
    client.put(PATH, json={"pronunciations": ENTRIES})

    assert plain != wanted
    assert said(client, "Run kubectl now.") == wanted
    path = f"/elevenlabs/v1/text-to-speech/{voice}?output_format=pcm_24000"
    assert client.post(path, json={"text": "Run kubectl now."}).content == wanted


async def test_jobs_speak_by_the_dictionary_of_their_voice(store: VoiceStore, settings: Settings) -> None:
    engine = ScriptedSpeech(chunk())
    client = TestClient(build_app(engine, store, settings, LocalMetrics()))
    upload(client)
    client.put(PATH, json={"pronunciations": ENTRIES})

    await speak(replace(claimed("Run kubectl."), voice="Ada"), engine, settings.voices, store)

    assert spoken_text(engine.requests[-1]) == "Run cube control."


def test_a_request_s_own_words_go_before_the_voice_s(client: TestClient, voice: str) -> None:
    client.put(PATH, json={"pronunciations": ENTRIES})
    wanted = said(client, "Run something.")
    assert said(client, "Run kubectl.", pronunciations=[{"word": "kubectl", "spoken": "something"}]) == wanted


def test_numbers_are_read_out_unless_it_is_switched_off(client: TestClient, voice: str) -> None:
    text, words = "On 11/24/2026.", "On November twenty-fourth, twenty twenty-six."
    assert said(client, text) == said(client, text, text_normalization="on") == said(client, words)
    assert said(client, text, text_normalization="off") != said(client, words)


def test_elevenlabs_switch_is_followed(client: TestClient, voice: str) -> None:
    path = f"/elevenlabs/v1/text-to-speech/{voice}?output_format=pcm_24000"
    text = "On 11/24/2026."
    off = client.post(path, json={"text": text, "apply_text_normalization": "off"})
    assert "x-kubevoice-warning" not in off.headers or "apply_text" not in off.headers["x-kubevoice-warning"]
    assert off.content == said(client, text, text_normalization="off")
    assert client.post(path, json={"text": text}).content == said(client, text)


def test_jobs_and_elevenlabs_read_texts_by_the_region(store: VoiceStore, settings: Settings) -> None:
    engine = ScriptedSpeech(chunk())
    client = TestClient(build_app(engine, store, settings, LocalMetrics()))
    text, words = "On 05/11/2026.", "On the fifth of November, twenty twenty-six."
    client.post("/elevenlabs/v1/text-to-speech/one", json={"text": text, "language_code": "en-GB"})
    assert spoken_text(engine.requests[-1]) == words
    card = client.post("/v1/jobs", json={"items": [{"text": text, "language": "en-GB"}], "language": "en-AU"}).json()
    items = client.get(f"/v1/jobs/{card['id']}/items").json()["data"]
    assert (card["options"]["language"], items[0]["language"]) == ("en-AU", "en-GB")
    asyncio.run(speak(replace(claimed(text), voice="one", language="en-GB"), engine, settings.voices, store))
    assert spoken_text(engine.requests[-1]) == words


def test_dictionaries_of_the_most_and_longest_entries_are_taken(client: TestClient, voice: str) -> None:
    entries = [
        {"word": f"{number:04}" + "é" * 96, "spoken": "ü" * 200, "case_sensitive": True} for number in range(1000)
    ]
    response = client.put(PATH, json={"pronunciations": entries})
    assert response.status_code == 200, response.text
    assert len(listed(client)) == 1000
    assert said(client, "Hello.", pronunciations=entries[:100])


def test_a_dictionary_does_not_make_a_book_of_a_short_text(client: TestClient, voice: str) -> None:
    body = {"model": "auto", "input": "a " * 2000, "voice": "Ada", "response_format": "pcm"}
    many = [{"word": "a", "spoken": "many words " * 18}]
    response = client.post("/v1/audio/speech", json={**body, "pronunciations": many})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "pronunciations")
    assert said(client, "a b c", pronunciations=many)


@pytest.mark.parametrize(
    ("entries", "where"),
    [
        ([ENTRIES[0], {"word": "...", "spoken": "a"}], "pronunciations.1.word"),
        ([ENTRIES[0], {"word": "a"}], "pronunciations.1.spoken"),
        ([ENTRIES[0], ENTRIES[1], {"word": "KUBECTL", "spoken": "a"}], "pronunciations.2.word"),
        ([{"word": "a", "spoken": "b", "ipa": "c"}], "pronunciations.0.ipa"),
        ([{"word": f"w{number}", "spoken": "a"} for number in range(1001)], "pronunciations"),
    ],
)
def test_a_dictionary_that_cannot_be_used_is_refused_by_its_entry(
    client: TestClient, voice: str, entries: list[Any], where: str
) -> None:
    response = client.put(PATH, json={"pronunciations": entries})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == where
    assert listed(client) == []


def test_unknown_voices_are_not_found(client: TestClient) -> None:
    for method in ("get", "delete"):
        response = client.request(method, "/v1/audio/voices/nobody/pronunciations")
        assert (response.status_code, response.json()["error"]["param"]) == (404, "voice_id")


def test_a_built_in_voice_speaks_by_a_dictionary_whatever_it_is_called(client: TestClient, voice: str) -> None:
    text = "Run kubectl now."
    plain, wanted = said(client, text, voice="alloy"), said(client, "Run cube control now.", voice="alloy")
    path = "/v1/audio/voices/alloy/pronunciations"
    assert listed(client, path) == []
    assert client.put(path, json={"pronunciations": ENTRIES}).status_code == 200

    preset = client.delete("/v1/audio/voices/ash/pronunciations").json()["id"]  # another preset, without any
    assert preset != "alloy"
    assert listed(client, path) == listed(client, "/v1/audio/voices/default/pronunciations") == ENTRIES
    assert plain != wanted
    assert said(client, text, voice="alloy") == said(client, text, voice="default") == wanted
    assert said(client, text, voice="ash") != said(client, "Run cube control now.", voice="ash")
    assert listed(client) == [], "an uploaded voice's own"
    client.delete(path)
    assert said(client, text, voice="alloy") == plain


async def test_jobs_speak_by_the_dictionary_of_a_built_in_voice(store: VoiceStore, settings: Settings) -> None:
    engine = ScriptedSpeech(chunk())
    client = TestClient(build_app(engine, store, settings, LocalMetrics()))
    client.put("/v1/audio/voices/one/pronunciations", json={"pronunciations": ENTRIES})
    await speak(replace(claimed("Run kubectl."), voice="one"), engine, settings.voices, store)
    assert spoken_text(engine.requests[-1]) == "Run cube control."


def test_an_alias_of_an_uploaded_voice_has_that_voice_s_dictionary(
    espeak: EspeakEngine, store: VoiceStore, settings: Settings
) -> None:
    named = settings.model_copy(update={"voices": VoiceSettings(aliases={"narrator": "Ada"})})
    client = TestClient(build_app(espeak, store, named, LocalMetrics()))
    upload(client)
    client.put("/v1/audio/voices/narrator/pronunciations", json={"pronunciations": ENTRIES})
    assert listed(client) == ENTRIES


def test_a_name_that_became_an_alias_stands_for_what_speaks_by_it(
    espeak: EspeakEngine, store: VoiceStore, settings: Settings
) -> None:
    later = settings.model_copy(update={"voices": VoiceSettings(aliases={"Ada": "alloy"})})
    upload(TestClient(build_app(espeak, store, settings, LocalMetrics())))
    client = TestClient(build_app(espeak, store, later, LocalMetrics()))
    plain = said(client, "Run kubectl.")
    client.put(PATH, json={"pronunciations": ENTRIES[:1]})
    assert listed(client) == listed(client, "/v1/audio/voices/alloy/pronunciations") == ENTRIES[:1]
    assert said(client, "Run kubectl.") != plain


def test_a_tenant_s_dictionary_of_a_built_in_voice_is_nobody_else_s(store: VoiceStore, settings: Settings) -> None:
    client = TestClient(scripted_app(store, settings))
    path = "/v1/audio/voices/alloy/pronunciations"
    ours, theirs = (bearer(new_key(store, tenant)[1]) for tenant in ("acme", "other"))
    assert client.put(path, json={"pronunciations": ENTRIES}, headers=ours).status_code == 200
    assert client.get(path, headers=theirs).json() == {"pronunciations": []}
    assert len(client.get(path, headers=ours).json()["pronunciations"]) == 2
    body = {"model": "auto", "input": "Run kubectl.", "voice": "alloy"}
    engine = client.app.state.context.engine  # type: ignore[attr-defined]
    for headers, words in ((theirs, "Run kubectl."), (ours, "Run cube control.")):
        assert client.post("/v1/audio/speech", json=body, headers=headers).status_code == 200
        assert spoken_text(engine.requests[-1]) == words


def test_a_dictionary_goes_with_its_voice(client: TestClient, voice: str, espeak: EspeakEngine) -> None:
    client.put(PATH, json={"pronunciations": ENTRIES})
    client.delete(f"/v1/audio/voices/{voice}")
    assert client.get(PATH).status_code == 404
    upload(client)
    assert listed(client) == []
