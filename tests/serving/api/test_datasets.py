"""``/v1/datasets``: what is kept of an upload, what is refused, and how it is prepared."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.settings import Settings
from serving.settings_groups import LimitSettings
from serving.store.dataset_files import read_dataset
from serving.store.voices import VoiceStore
from tests.serving.api.listing import files_below
from tests.serving.api.standin import StandIn
from tests.serving.api.training_client import (
    CONSENT,
    DATASETS,
    TEXT,
    WAV,
    add_weights,
    client_of,
    ready_dataset,
    until_ended,
    upload,
    zipped,
)


@pytest.fixture
def client(store: VoiceStore, settings: Settings, launcher: StandIn) -> TestClient:
    return client_of(store, settings, launcher)


def folder(settings: Settings, dataset: str) -> Path:
    return settings.data / "datasets" / "default" / dataset


def left(settings: Settings) -> set[str]:
    """What is kept of datasets, and of uploads on the way."""
    return files_below(settings.data / "datasets") | files_below(settings.data / ".staging")


def test_a_dataset_is_kept_prepared_listed_and_deleted(
    client: TestClient, settings: Settings, launcher: StandIn
) -> None:
    card = upload(client, language="EN", speaker="Ada Example").json()
    assert (card["object"], card["name"], card["language"], card["speaker"]) == ("dataset", "Ada", "en", "Ada Example")
    assert (card["consent"], card["transcribe"], card["files"], card["bytes"]) == (CONSENT, False, 2, 14)
    directory = folder(settings, card["id"])
    assert launcher.started == [["python", "-m", "training.dataset", str(directory)]]
    assert read_dataset(directory).consent == CONSENT
    assert {path.name: path.read_bytes() for path in (directory / "raw").iterdir()} == {
        "a.wav": b"RIFFa",
        "metadata.csv": b"a|Hello.\n",
    }
    ready = until_ended(client, f"{DATASETS}/{card['id']}")
    assert (ready["state"], ready["totals"], ready["progress"]["kept"]) == ("succeeded", {"kept": 1}, 1)
    assert client.get(f"{DATASETS}/Ada").json() == ready
    assert client.get(DATASETS).json() == {"object": "list", "data": [ready], "has_more": False}
    assert client.get(f"{DATASETS}/Ada/report").json()["totals"] == {"kept": 1}

    deleted = client.delete(f"{DATASETS}/Ada").json()
    assert deleted == {"id": card["id"], "object": "dataset.deleted", "deleted": True}
    assert not directory.exists()
    assert client.get(f"{DATASETS}/Ada").status_code == 404


def test_a_preparation_that_fails_says_why(client: TestClient) -> None:
    card = upload(client, files=[("files", ("a.wav", b"broken")), TEXT]).json()
    ended = until_ended(client, f"{DATASETS}/{card['id']}")
    assert (ended["state"], ended["reason"]) == ("failed", "no clip is left; add recordings")
    assert client.get(f"{DATASETS}/Ada/report").json()["error"]["param"] == "dataset"


def test_files_are_added_and_all_are_prepared_again(client: TestClient, settings: Settings) -> None:
    card = ready_dataset(client)
    more = client.post(f"{DATASETS}/Ada/files", files=[("files", ("b.wav", b"RIFFb")), ("files", ("a.wav", b"RIFF2"))])
    assert (more.json()["attempt"], more.json()["files"]) == (2, 4)
    assert until_ended(client, f"{DATASETS}/Ada")["totals"] == {"kept": 3}
    assert (folder(settings, card["id"]) / "raw" / "a.wav").read_bytes() == b"RIFFa"


def test_a_zip_is_unpacked_with_its_folders_and_without_what_archivers_add(
    client: TestClient, settings: Settings
) -> None:
    archive = zipped(
        **{"wavs/ä 1.wav": b"RIFF", "metadata.csv": b"x|y", "__MACOSX/._a.wav": b"x", "wavs/.DS_Store": b"x"}
    )
    card = upload(client, files=[("files", ("all.zip", archive)), ("files", ("b.wav", b"RIFFb"))]).json()
    raw = folder(settings, card["id"]) / "raw"
    assert files_below(raw) == {"wavs", "wavs/ä 1.wav", "metadata.csv", "b.wav"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"consent": None}, "consent"),
        ({"consent": "  "}, "consent"),
        ({"consent": "x" * 4001}, "consent"),
        ({"consent": "x" * 20_000}, "consent"),
        ({"name": None}, "name"),
        ({"name": "../a"}, "name"),
        ({"name": "ds-" + "0" * 24}, "name"),
        ({"language": "english"}, "language"),
        ({"speaker": "a|b"}, "speaker"),
        ({"transcribe": "perhaps"}, "transcribe"),
        ({"extra": "x"}, "extra"),
        ({"files": "x"}, "files"),
    ],
)
def test_a_bad_field_is_refused_by_name_and_nothing_is_kept(
    client: TestClient, settings: Settings, fields: dict[str, Any], param: str
) -> None:
    form = {"name": "Ada", "language": "en", "consent": CONSENT, **fields}
    data = {key: value for key, value in form.items() if value is not None}
    answer = client.post(DATASETS, data=data, files=[WAV, TEXT])
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert left(settings) == set()


def test_a_consent_may_be_as_long_in_any_script(client: TestClient) -> None:
    statement = "ก" * 4000
    answer = client.post(DATASETS, data={"name": "Ada", "language": "en", "consent": statement}, files=[WAV, TEXT])
    assert answer.status_code == 200, answer.text
    assert answer.json()["consent"] == statement


@pytest.mark.parametrize("name", ["../a.wav", "a/../../b.wav", ".hidden.wav", "a.exe", "a", "/etc/a.wav", " a.wav"])
def test_a_file_name_that_leads_elsewhere_is_refused(client: TestClient, settings: Settings, name: str) -> None:
    for file in (("files", (name, b"RIFF")), ("files", ("all.zip", zipped(**{name: b"RIFF"})))):
        answer = upload(client, files=[WAV, file])
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "files"), file
    assert left(settings) == set()


def linked() -> bytes:
    data, info = io.BytesIO(), zipfile.ZipInfo("a.wav")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return data.getvalue()


@pytest.mark.parametrize(
    "archive",
    [
        linked(),
        b"no zip",
        b"",
        zipped(**{"a.wav": b"x" * 1000})[:-40],
        zipped(**{"a.wav": b"x", "a.wav/b.wav": b"y"}),
        zipped(**{".DS_Store": b"x"}),
        zipped(**{"a.wav": b"x" * 50}).replace(b"a.wav", b"b.wav", 1),
    ],
    ids=["link", "no zip", "empty", "cut", "file and folder", "nothing in it", "two names"],
)
def test_a_zip_that_cannot_be_trusted_is_refused(client: TestClient, settings: Settings, archive: bytes) -> None:
    answer = upload(client, files=[("files", ("all.zip", archive))])
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "files")
    assert left(settings) == set()


def test_sizes_are_limited_also_those_of_what_is_unpacked(
    store: VoiceStore, settings: Settings, launcher: StandIn
) -> None:
    limited = settings.model_copy(update={"limits": LimitSettings(dataset_bytes=100_000)})
    client = client_of(store, limited, launcher)
    bomb = zipped(**{f"{number}.wav": bytes(30_000) for number in range(4)})
    assert len(bomb) < 2000
    for file in (("a.wav", bytes(100_001)), ("all.zip", bomb), ("a.wav", bytes(400_000))):
        answer = upload(client, files=[("files", file)])
        assert (answer.status_code, answer.json()["error"]["param"]) == (413, "files")
    assert left(settings) == set()
    assert upload(client, files=[("files", ("all.zip", zipped(**{"a.wav": bytes(99_000)})))]).status_code == 200


def test_a_language_that_the_model_does_not_speak_is_refused_before_anything_is_kept(
    client: TestClient, settings: Settings
) -> None:
    (add_weights(settings) / "config.json").write_text('{"languages": ["en", "zh-cn"]}')
    refused = upload(client, language="tlh")
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "language"
    assert "language 'tlh' is not one that model xtts_v2@r1 speaks; take one of en, zh-cn" in refused.text
    assert left(settings) == set()
    assert upload(client, language="zh").status_code == 200


def test_a_name_is_taken_once(client: TestClient, settings: Settings) -> None:
    upload(client)
    before = left(settings)
    answer = upload(client)
    assert (answer.status_code, answer.json()["error"]["param"]) == (409, "name")
    assert {path.split("/")[1] for path in left(settings) if "/" in path} == {
        path.split("/")[1] for path in before if "/" in path
    }


def test_many_files_need_no_many_descriptors(client: TestClient) -> None:
    many = [("files", (f"{number}.wav", b"RIFF")) for number in range(1100)]
    assert upload(client, files=many).json()["files"] == 1100


def test_a_body_that_is_no_form_is_refused(client: TestClient) -> None:
    answer = client.post(DATASETS, json={"name": "Ada"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_body")
