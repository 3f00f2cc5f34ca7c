"""Several references, their report, denoising, and a voice as one file."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from serving.api import build_app
from serving.audio.pcm import Pcm
from serving.audio.wav import wav_bytes
from serving.engines.base import Voice
from serving.engines.xtts import XttsEngine
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.settings_groups import LimitSettings
from serving.store.voice_archive import ArchivedVoice, pack, unpack
from serving.store.voices import VoiceStore
from tests.audio_measure import noise
from tests.factories.xtts import cached_checkpoint
from tests.serving.api.guarded import bearer, new_key, scripted_app
from tests.serving.api.listing import files_below
from tests.serving.api.scripted import ScriptedSpeech
from tests.spoken import RATE, noisy, spoken

ROUTE = "/v1/audio/voices"


def upload(client: TestClient, *recordings: Pcm, name: str = "Ada", **fields: Any) -> Any:
    files = [("audio_sample", (f"{number}.wav", wav_bytes(pcm, RATE))) for number, pcm in enumerate(recordings)]
    return client.post(ROUTE, data={"name": name, **fields}, files=files)


def bring(client: TestClient, data: bytes, **fields: Any) -> Any:
    return client.post(f"{ROUTE}/import", data=fields, files={"file": ("voice.zip", data)})


@pytest.fixture(scope="module")
def xtts() -> Iterator[XttsEngine]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    engine = XttsEngine.load(cached_checkpoint("tiny"), model="xtts_v2", revision="r1", device="cpu")
    yield engine
    asyncio.run(engine.close())
    torch.set_num_threads(threads)


@pytest.fixture
def cloning(xtts: XttsEngine, store: VoiceStore, settings: Settings) -> Iterator[TestClient]:
    with TestClient(build_app(xtts, store, settings, LocalMetrics())) as client:
        yield client


def test_ten_recordings_make_one_voice_and_eleven_are_refused(client: TestClient, store: VoiceStore) -> None:
    pieces = np.array_split(spoken(), 5)
    card = upload(client, *pieces, *pieces).json()
    assert card["reference_seconds"] == pytest.approx(2 * len(spoken()) / RATE, abs=0.01)
    assert len(store.get("default", "Ada").references) == len(card["quality"]["recordings"]) == 10
    refused = upload(client, *pieces, *pieces, pieces[0], name="Eve")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "audio_sample")


def test_all_recordings_together_may_be_as_long_as_one(store: VoiceStore, settings: Settings) -> None:
    settings = settings.model_copy(update={"limits": LimitSettings(reference_max_s=10.0)})
    client = TestClient(build_app(ScriptedSpeech(), store, settings, LocalMetrics()))
    before = files_below(settings.data)
    refused = upload(client, spoken(), spoken())
    assert (refused.status_code, refused.json()["error"]["param"]) == (413, "audio_sample")
    assert "together" in refused.json()["error"]["message"]
    assert files_below(settings.data) == before


def test_of_several_recordings_the_bad_one_is_named(client: TestClient, settings: Settings) -> None:
    before = files_below(settings.data)
    refused = upload(client, spoken(), np.zeros(2 * RATE, np.float32))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "audio_sample")
    assert "recording 2 of 2" in refused.json()["error"]["message"]
    assert files_below(settings.data) == before


def test_the_report_comes_with_the_card_is_kept_and_survives_the_loss_of_the_table(
    client: TestClient, store: VoiceStore
) -> None:
    card = upload(client, noisy(spoken(), 8)).json()
    checks = {check["name"]: check for check in card["quality"]["checks"]}
    assert (card["quality"]["verdict"], checks["noise"]["verdict"]) == ("warn", "warn")
    assert "denoise=true" in checks["noise"]["message"]
    assert checks["speakers"]["verdict"] == "not_judged"
    assert client.get(f"{ROUTE}/Ada").json() == card
    assert card in client.get(ROUTE).json()["voices"]
    assert client.get(f"{ROUTE}/f1").json()["quality"] is None

    profile = store.get("default", "Ada")
    kept = profile.references[0].parent.parent
    aside = kept.with_name("aside")
    kept.rename(aside)
    assert store.reindex() == 0
    aside.rename(kept)
    assert store.reindex() == 1
    assert client.get(f"{ROUTE}/Ada").json() == card


def test_noise_is_taken_out_in_both_conventions(client: TestClient, store: VoiceStore) -> None:
    bad = noisy(spoken(), 8)
    openai = upload(client, bad, denoise="true").json()
    files = [("files", ("a.wav", wav_bytes(bad, RATE)))]
    for flag in ("true", "false"):
        form = {"name": f"Eleven {flag}", "remove_background_noise": flag}
        client.post("/elevenlabs/v1/voices/add", data=form, files=files).raise_for_status()
    facts = [client.get(f"{ROUTE}/{name}").json()["quality"] for name in ("Ada", "Eleven true", "Eleven false")]
    assert [each["recordings"][0]["denoised"] for each in facts] == [True, True, False]
    assert facts[0] == openai["quality"] == facts[1]
    assert facts[0]["recordings"][0]["snr_db"] > facts[2]["recordings"][0]["snr_db"] + 20
    one, two, three = (
        store.get("default", name).references[0].read_bytes() for name in ("Ada", "Eleven true", "Eleven false")
    )
    assert one == two != three


def test_the_models_encoder_compares_the_speakers_and_two_are_further_apart_than_one(cloning: TestClient) -> None:
    one = upload(cloning, spoken("m1"), spoken("m1"), name="One").json()["quality"]
    two = upload(cloning, spoken("m1"), spoken("f4"), name="Two").json()["quality"]
    assert two["speaker_similarity"] < one["speaker_similarity"] <= 1
    for name, report in (("One", one), ("Two", two)):
        (check,) = [check for check in report["checks"] if check["name"] == "speakers"]
        assert check["verdict"] in ("ok", "warn")
        assert cloning.get(f"{ROUTE}/{name}").json()["quality"] == report


def test_an_imported_voice_has_the_latents_of_the_exported_one(
    cloning: TestClient, store: VoiceStore, xtts: XttsEngine
) -> None:
    facts = {"language": "en", "description": "warm", "consent": "agreed on paper", "denoise": "true"}
    card = upload(cloning, spoken(), noisy(spoken("m2"), 8), name="Zoe", **facts).json()
    answer = cloning.get(f"{ROUTE}/Zoe/export")
    assert answer.headers["content-type"] == "application/zip"
    assert "Zoe.zip" in answer.headers["content-disposition"]
    assert cloning.get(f"{ROUTE}/{card['id']}/export").content == answer.content

    imported = bring(cloning, answer.content, name="Zoe again").json()
    assert imported["id"] != card["id"]
    same = ("language", "description", "reference_seconds", "quality", "type")
    assert {key: imported[key] for key in same} == {key: card[key] for key in same}
    one, two = store.get("default", "Zoe"), store.get("default", "Zoe again")
    assert two.consent == "agreed on paper"
    assert [path.read_bytes() for path in one.references] == [path.read_bytes() for path in two.references]

    def latents(profile: Any) -> Any:
        return xtts._conditioner.latents(Voice("x", references=profile.references))

    assert torch.equal(latents(one).gpt_cond_latent, latents(two).gpt_cond_latent)
    assert torch.equal(latents(one).speaker_embedding, latents(two).speaker_embedding)
    assert (two.conditioning / "xtts_v2@r1.safetensors").is_file()
    assert cloning.get(f"{ROUTE}/Zoe again/export").content != answer.content  # another name, and nothing else


def test_an_export_says_nothing_of_where_it_came_from(client: TestClient, settings: Settings) -> None:
    card = upload(client, spoken()).json()
    data = client.get(f"{ROUTE}/Ada/export").content
    for word in (card["id"].encode(), b"default", b"conditioning", str(settings.data).encode(), b"created_at"):
        assert word not in data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["manifest.json", "references/0.wav"]
        assert json.loads(archive.read("manifest.json"))["quality"] == card["quality"]


def exported(*references: bytes, name: str = "Ada") -> bytes:
    return pack(ArchivedVoice(name, None, None, None, None, references))


GOOD = wav_bytes(noise(2.0, RATE), RATE)


@pytest.mark.parametrize(
    ("data", "fields", "status", "param"),
    [
        (b"", {}, 400, "file"),
        (b"PK\x05\x06" + bytes(18), {}, 400, "file"),
        (exported(b"no audio"), {}, 400, "file"),
        (exported(GOOD, GOOD[: len(GOOD) // 2]), {}, 400, "file"),
        (exported(wav_bytes(np.zeros(2 * RATE, np.float32), RATE)), {}, 400, "file"),
        (exported(wav_bytes(noise(130.0, 8000), 8000)), {}, 413, "file"),
        (exported(GOOD, name="f1"), {}, 409, "name"),
        (exported(GOOD, name="../x"), {}, 400, "name"),
        (exported(GOOD), {"name": "alloy"}, 409, "name"),
        (exported(GOOD), {"name": "Taken"}, 409, "name"),
        (exported(GOOD), {"name": "x" * 65}, 400, "name"),
    ],
    ids=["nothing", "empty", "text", "torn", "silent", "long", "built-in", "path", "alias", "taken", "long name"],
)
def test_a_bad_import_is_refused_and_leaves_nothing(
    client: TestClient, settings: Settings, data: bytes, fields: dict[str, str], status: int, param: str
) -> None:
    bring(client, exported(GOOD, name="Taken")).raise_for_status()
    before = files_below(settings.data)
    answer = bring(client, data, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert files_below(settings.data) == before


def test_an_import_as_large_as_any_export_comes_in_and_a_larger_one_does_not(
    store: VoiceStore, settings: Settings
) -> None:
    limits = LimitSettings(upload_bytes=100_000, reference_max_s=4.0)
    settings = settings.model_copy(update={"limits": limits})
    client = TestClient(build_app(ScriptedSpeech(), store, settings, LocalMetrics()))
    assert bring(client, exported(wav_bytes(noise(3.9, 48000), 48000))).status_code == 200
    refused = bring(client, bytes(2_000_000))
    assert (refused.status_code, refused.json()["error"]["param"]) == (413, "file")


def test_a_voice_that_is_not_there_or_built_in_has_no_export(client: TestClient) -> None:
    for voice in ("nobody", "f1", "alloy", "..%2f..%2fsecret"):
        answer = client.get(f"{ROUTE}/{voice}/export")
        assert answer.status_code == 404
        assert ("built in" in answer.text) == (voice in {"f1", "alloy"})


def test_recordings_are_for_keys_that_manage_voices(store: VoiceStore, settings: Settings, tmp_path: Path) -> None:
    from tests.serving.api.standin import StandIn

    launcher = StandIn(tmp_path / "launch")
    app = scripted_app(store, settings, launcher)
    manager = TestClient(app, headers=bearer(new_key(store, "acme", "voices")[1]))
    speaker = TestClient(app, headers=bearer(new_key(store, "acme", "speech")[1]))
    upload(manager, spoken()).raise_for_status()
    assert speaker.get(f"{ROUTE}/Ada").status_code == 200
    assert speaker.get(f"{ROUTE}/Ada/export").status_code == 403
    assert manager.get(f"{ROUTE}/Ada/export").status_code == 200


def test_a_dictionary_travels_with_the_export_of_its_voice(client: TestClient) -> None:
    upload(client, spoken())
    dictionary = {"pronunciations": [{"word": "SQL", "spoken": "sequel"}]}
    said = client.put(f"{ROUTE}/Ada/pronunciations", json=dictionary).json()
    assert bring(client, client.get(f"{ROUTE}/Ada/export").content, name="Eve").status_code == 200
    assert client.get(f"{ROUTE}/Eve/pronunciations").json() == said


def test_an_import_with_a_bad_dictionary_is_refused_and_leaves_nothing(client: TestClient, settings: Settings) -> None:
    upload(client, spoken())
    export = unpack(client.get(f"{ROUTE}/Ada/export").content)
    before = files_below(settings.data)
    refused = bring(client, pack(replace(export, pronunciations=b'[{"word": "SQL"}]')), name="Eve")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "file")
    assert "pronunciations.json" in refused.json()["error"]["message"]
    assert files_below(settings.data) == before
