"""Voices from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from serving.audio.wav import wav_bytes
from serving.cli import app
from serving.store.voice_archive import ArchivedVoice, pack, unpack
from serving.store.voice_consents import VoiceConsentStore
from serving.store.volume import Volume
from tests.factories.xtts import cached_checkpoint


def voices(tmp_path: Path, *arguments: str, **environment: str) -> Result:
    data = {"KUBEVOICE_DATA": str(tmp_path / "data"), **environment}
    return CliRunner(env=data).invoke(app, ["voices", *arguments])


def recording(path: Path, seconds: float = 2.0) -> str:
    time = np.arange(int(seconds * 16000)) / 16000
    path.write_bytes(wav_bytes((0.5 * np.sin(2 * np.pi * 200 * time)).astype(np.float32), 16000))
    return str(path)


def test_a_voice_is_added_listed_and_removed(tmp_path: Path) -> None:
    files = [recording(tmp_path / "one.wav"), recording(tmp_path / "two.wav", 3.0)]

    added = voices(tmp_path, "add", *files, "--name", "Alice", "--language", "en", "--description", "calm")
    assert added.exit_code == 0, added.output
    voice_id = added.stdout.split("\t")[0]

    (listed,) = json.loads(voices(tmp_path, "list", "--json").stdout)
    assert (listed["id"], listed["name"], listed["language"], listed["description"]) == (
        voice_id,
        "Alice",
        "en",
        "calm",
    )
    assert listed["reference_seconds"] == pytest.approx(5.0, abs=0.01)
    assert all(Path(path).is_file() for path in listed["references"])
    assert len(listed["references"]) == 2
    assert voices(tmp_path, "list").stdout.split("\t")[:4] == [voice_id, "Alice", "en", "5.0 s"]

    removed = voices(tmp_path, "remove", "Alice", "--yes")
    assert removed.stdout == f"removed Alice ({voice_id})\n"
    assert json.loads(voices(tmp_path, "list", "--json").stdout) == []
    assert not any(Path(path).exists() for path in listed["references"])


def test_a_voice_can_be_removed_by_its_id(tmp_path: Path) -> None:
    voice_id = voices(tmp_path, "add", recording(tmp_path / "a.wav"), "--name", "alice").stdout.split("\t")[0]
    assert voices(tmp_path, "remove", voice_id, "-y").exit_code == 0


def test_removing_without_a_terminal_needs_a_yes(tmp_path: Path) -> None:
    voices(tmp_path, "add", recording(tmp_path / "a.wav"), "--name", "alice")
    result = voices(tmp_path, "remove", "alice")
    assert result.exit_code == 2
    assert "add --yes" in result.stderr
    assert len(json.loads(voices(tmp_path, "list", "--json").stdout)) == 1


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"PK\x03\x04 no audio", "alice", "bad.wav"),
        (b"", "alice", "bad.wav"),
        (None, "../alice", "name"),
        (None, "alloy", "taken by a built-in voice"),
        (None, "default", "taken by a built-in voice"),
        (None, "F1", "taken by a built-in voice"),
    ],
)
def test_bad_input_is_exit_code_2_and_adds_nothing(
    tmp_path: Path, content: bytes | None, name: str, words: str
) -> None:
    recording(tmp_path / "bad.wav")
    if content is not None:
        (tmp_path / "bad.wav").write_bytes(content)
    result = voices(tmp_path, "add", str(tmp_path / "bad.wav"), "--name", name)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert not list((tmp_path / "data").glob("voices/*/*"))


def test_a_consent_is_named_by_its_id_or_told_in_words(tmp_path: Path) -> None:
    file = recording(tmp_path / "a.wav")
    volume = Volume(tmp_path / "data")
    volume.create()
    consent = VoiceConsentStore(volume).add("default", "Ada Example", "en-US", b"I agree.", 2.0)
    assert voices(tmp_path, "add", file, "--name", "by id", "--consent", consent.id).exit_code == 0
    assert voices(tmp_path, "add", file, "--name", "in words", "--consent", "agreed on paper").exit_code == 0
    refused = voices(tmp_path, "add", file, "--name", "by none", "--consent", "cons_1234")
    assert (refused.exit_code, "there is no consent 'cons_1234'" in refused.stderr) == (2, True)
    assert voices(tmp_path, "export", "by id", str(tmp_path / "a.zip")).exit_code == 0
    told = unpack((tmp_path / "a.zip").read_bytes()).consent
    assert told is not None
    assert consent.sha256 in told


def test_the_consent_that_an_import_names_by_an_id_is_kept_in_words(tmp_path: Path) -> None:
    reference = Path(recording(tmp_path / "a.wav")).read_bytes()
    (tmp_path / "in.zip").write_bytes(pack(ArchivedVoice("alice", None, None, "cons_1234", None, (reference,))))
    assert voices(tmp_path, "import", str(tmp_path / "in.zip")).exit_code == 0
    assert voices(tmp_path, "export", "alice", str(tmp_path / "out.zip")).exit_code == 0
    assert unpack((tmp_path / "out.zip").read_bytes()).consent == "by the recording cons_1234, kept elsewhere"


def test_a_taken_name_is_refused(tmp_path: Path) -> None:
    file = recording(tmp_path / "a.wav")
    assert voices(tmp_path, "add", file, "--name", "alice").exit_code == 0
    assert voices(tmp_path, "add", file, "--name", "alice").exit_code == 2


def test_a_language_that_the_engine_does_not_speak_is_refused_and_a_region_stays(tmp_path: Path) -> None:
    file = recording(tmp_path / "a.wav")
    refused = voices(tmp_path, "add", file, "--name", "alice", "--language", "klingon")
    assert refused.exit_code == 2
    assert "language 'klingon' is not spoken by espeak" in refused.stderr
    assert voices(tmp_path, "add", file, "--name", "alice", "--language", "DE-CH").exit_code == 0
    (listed,) = json.loads(voices(tmp_path, "list", "--json").stdout)
    assert (listed["name"], listed["language"]) == ("alice", "de-CH")


def test_the_weights_on_the_volume_say_which_names_and_languages_are_built_in(tmp_path: Path) -> None:
    model = tmp_path / "data" / "models" / "xtts" / "xtts_v2" / "r1"
    model.parent.mkdir(parents=True)
    model.symlink_to(cached_checkpoint())
    file = recording(tmp_path / "a.wav")
    for options, words in ((("--name", "ada"), "taken"), (("--name", "x", "--language", "cy"), "language 'cy'")):
        result = voices(tmp_path, "add", file, *options)
        assert result.exit_code == 2, result.output
        assert words in result.stderr
    assert voices(tmp_path, "add", file, "--name", "f1", "--language", "hu").exit_code == 0


def test_a_voice_can_be_added_before_the_weights_are_there(tmp_path: Path) -> None:
    options = ("--name", "alice", "--language", "en")
    result = voices(tmp_path, "add", recording(tmp_path / "a.wav"), *options, KUBEVOICE_ENGINE="xtts")
    assert result.exit_code == 0, result.output


def test_an_empty_list_says_how_to_begin(tmp_path: Path) -> None:
    result = voices(tmp_path, "list")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "kubevoice voices add" in result.stderr


def test_a_voice_goes_to_another_server_as_one_file(tmp_path: Path) -> None:
    recordings = [recording(tmp_path / "a.wav"), recording(tmp_path / "b.wav")]
    options = ["--name", "Alice", "--language", "en", "--consent", "agreed on paper"]
    added = voices(tmp_path, "add", *recordings, *options)
    assert "length: Somebody speaks for" in added.stderr
    file = tmp_path / "alice.zip"
    assert voices(tmp_path, "export", "Alice", str(file)).exit_code == 0
    assert voices(tmp_path, "import", str(file)).exit_code == 2  # the name is taken here

    brought = voices(tmp_path, "import", str(file), KUBEVOICE_DATA=str(tmp_path / "other"))
    assert brought.exit_code == 0, brought.output
    again = tmp_path / "again.zip"
    voices(tmp_path, "export", "Alice", str(again), KUBEVOICE_DATA=str(tmp_path / "other"))
    assert again.read_bytes() == file.read_bytes()
    assert voices(tmp_path, "import", str(file), "--name", "Bob").exit_code == 0
    assert [each["name"] for each in json.loads(voices(tmp_path, "list", "--json").stdout)] == ["Alice", "Bob"]


def test_an_import_of_something_else_says_what_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"no zip")
    result = voices(tmp_path, "import", str(tmp_path / "x.zip"))
    assert result.exit_code == 2
    assert "not the export of a voice" in result.stderr
