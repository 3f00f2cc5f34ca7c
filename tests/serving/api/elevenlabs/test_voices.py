"""``/elevenlabs/v1/voices``: what there is, what is added, what is gone."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from serving.audio.wav import wav_bytes
from tests.audio_measure import noise

ROUTE = "/elevenlabs/v1/voices"
WAV = wav_bytes(noise(2.0, 24000), 24000)


def add(client: TestClient, name: str = "Ada", count: int = 2, **fields: str) -> str:
    files = [("files", (f"{number}.wav", WAV, "audio/wav")) for number in range(count)]
    answer = client.post(f"{ROUTE}/add", data={"name": name, **fields}, files=files)
    assert answer.status_code == 200, answer.text
    assert answer.json()["requires_verification"] is False
    return str(answer.json()["voice_id"])


def test_a_voice_of_several_recordings_is_added_shown_listed_and_deleted(scripted: TestClient) -> None:
    labels = json.dumps({"language": "de", "consent": "signed on paper"})
    voice = add(scripted, description="Warm.", labels=labels)
    shown = scripted.get(f"{ROUTE}/{voice}").json()
    assert (shown["name"], shown["category"], shown["description"]) == ("Ada", "cloned", "Warm.")
    assert shown["labels"] == {"language": "de"}
    assert [item["voice_id"] for item in scripted.get(ROUTE).json()["voices"]] == ["one", "two", voice]
    stored = scripted.get(f"/v1/audio/voices/{voice}").json()
    assert stored["reference_seconds"] == pytest.approx(4.0, abs=0.05)

    assert scripted.delete(f"{ROUTE}/{voice}").json() == {"status": "ok"}
    gone = scripted.get(f"{ROUTE}/{voice}")
    assert (gone.status_code, gone.json()["detail"]["status"]) == (404, "voice_not_found")


def test_the_voices_come_in_pages_and_by_name(scripted: TestClient) -> None:
    add(scripted, "Ada")
    add(scripted, "Berta")
    first = scripted.get("/elevenlabs/v2/voices", params={"page_size": 3}).json()
    assert (len(first["voices"]), first["has_more"], first["total_count"]) == (3, True, 4)
    rest = scripted.get("/elevenlabs/v2/voices", params={"next_page_token": first["next_page_token"]}).json()
    assert [voice["name"] for voice in rest["voices"]] == ["Berta"]
    assert not rest["has_more"]
    found = scripted.get("/elevenlabs/v2/voices", params={"search": "ada"}).json()
    assert [voice["name"] for voice in found["voices"]] == ["Ada"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"labels": "[1]"}, "labels"),
        ({"labels": "{"}, "labels"),
        ({"labels": "[" * 1500}, "labels"),
        ({"name": "one"}, "name"),
    ],
)
def test_bad_forms_name_the_field(scripted: TestClient, fields: dict[str, str], param: str) -> None:
    answer = scripted.post(f"{ROUTE}/add", data={"name": "Ada", **fields}, files=[("files", ("a.wav", WAV))])
    assert answer.json()["detail"]["param"] == param
    assert len(scripted.get(ROUTE).json()["voices"]) == 2


def test_a_recording_that_cannot_be_read_leaves_no_voice(scripted: TestClient) -> None:
    files = [("files", ("a.wav", WAV)), ("files", ("b.wav", b"no audio"))]
    answer = scripted.post(f"{ROUTE}/add", data={"name": "Ada"}, files=files)
    assert (answer.status_code, answer.json()["detail"]["param"]) == (400, "files")
    assert len(scripted.get(ROUTE).json()["voices"]) == 2


def test_a_preset_cannot_be_deleted(scripted: TestClient) -> None:
    assert scripted.delete(f"{ROUTE}/one").json()["detail"]["param"] == "voice_id"


def test_the_default_settings_are_elevenlabs_own(scripted: TestClient) -> None:
    settings = scripted.get(f"{ROUTE}/settings/default").json()
    assert (settings["stability"], settings["similarity_boost"], settings["speed"]) == (0.5, 0.75, 1.0)


def test_the_models_say_what_they_can(scripted: TestClient) -> None:
    (model,) = scripted.get("/elevenlabs/v1/models").json()
    assert (model["model_id"], model["can_do_text_to_speech"]) == ("scripted", True)
    assert [language["language_id"] for language in model["languages"]] == ["en", "de"]
