"""What lies in raw/ is found by its content, and nothing outside it."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from serving.errors import InvalidRequest
from training.dataset.sources import Recording, Utterance, find_sources


def make(raw: Path, files: dict[str, str]) -> Path:
    """Files by their path below ``raw``."""
    for name, content in files.items():
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_text(content)
    return raw


def texts(raw: Path, *, transcribe: bool = False) -> dict[str, list[str]]:
    found = find_sources(raw, transcribe=transcribe)
    return {one.name: [said.text for said in one.utterances] for one in found.recordings}


def test_a_folder_of_recordings_with_texts_beside_them(tmp_path: Path) -> None:
    raw = make(tmp_path, {"a.wav": "", "a.txt": "One.", "b/c.mp3": "", "b/c.lab": "Two.", "d.ogg": ""})
    assert texts(raw) == {"a.wav": ["One."], "b/c.mp3": ["Two."], "d.ogg": []}
    assert find_sources(raw, transcribe=False).formats == {"text": 2}


def test_endings_count_whatever_their_case(tmp_path: Path) -> None:
    cue = "1\n00:00:01,000 --> 00:00:02,000\nTwo.\n"
    raw = make(tmp_path, {"A.WAV": "", "A.TXT": "One.", "b.Mp3": "", "b.SRT": cue, "c.WAV": "", "d.FLAC": ""})
    make(raw, {"list.CSV": "file,text\nc.wav,Three.\nd,Four.\n"})
    assert texts(raw, transcribe=True) == {
        "A.WAV": ["One."],
        "b.Mp3": ["Two."],
        "c.WAV": ["Three."],
        "d.FLAC": ["Four."],
    }


def test_a_text_that_is_a_link_out_of_the_folder_is_none(tmp_path: Path) -> None:
    make(tmp_path, {"secret.txt": "Secret."})
    raw = make(tmp_path / "raw", {"a.wav": ""})
    (raw / "a.txt").symlink_to(tmp_path / "secret.txt")
    assert texts(raw, transcribe=True) == {"a.wav": []}


def test_a_text_with_bars_beside_its_recording_is_no_table(tmp_path: Path) -> None:
    raw = make(tmp_path, {"a.wav": "", "a.wav.txt": "One | two.", "b.wav": "", "b.TXT": "Three | four."})
    assert texts(raw) == {"a.wav": ["One | two."], "b.wav": ["Three | four."]}


@pytest.mark.parametrize(("there", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_are_found_in_either_form_of_unicode(
    tmp_path: Path, there: Literal["NFC", "NFD"], written: Literal["NFC", "NFD"]
) -> None:
    def form(name: str) -> str:
        return unicodedata.normalize(written, name)

    names = [unicodedata.normalize(there, name) for name in ("Größe/Grüße.wav", "Größe/Tür.wav")]
    raw = make(tmp_path, {names[0]: "", names[1]: ""})
    (raw / names[1]).with_name(form("Tür.txt")).write_text("Zwei.")
    make(raw, {"list.csv": form("file,text\nGröße/Grüße.wav,Eins.\n")})
    assert texts(raw) == {names[0]: [form("Eins.")], names[1]: ["Zwei."]}


def test_of_two_names_that_differ_by_their_form_alone_each_keeps_its_text(tmp_path: Path) -> None:
    both = [unicodedata.normalize(form, "Tür") for form in ("NFC", "NFD")]
    raw = make(tmp_path, {f"{name}{ending}": name for name in both for ending in (".wav", ".txt")})
    assert texts(raw) == {f"{name}.wav": [name] for name in both}


def test_ljspeech_in_a_folder_of_its_own(tmp_path: Path) -> None:
    raw = make(tmp_path, {"LJ/metadata.csv": "a|1.|One.\nb|Two.\n", "LJ/wavs/a.wav": "", "LJ/wavs/b.wav": ""})
    assert texts(raw) == {"LJ/wavs/a.wav": ["One."], "LJ/wavs/b.wav": ["Two."]}


def test_paths_of_another_machine_are_found_by_their_name(tmp_path: Path) -> None:
    raw = make(tmp_path, {"wavs/a.wav": "", "list.csv": "file,text\nC:\\me\\data\\a.wav,One.\n/home/me/b.wav,Two.\n"})
    found = {one.name: one.path for one in find_sources(raw, transcribe=False).recordings}
    assert found == {"wavs/a.wav": raw / "wavs/a.wav", "/home/me/b.wav": None}


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.wav").write_text("")
    raw = make(tmp_path / "raw", {"a.wav": "", "list.csv": "file,text\n../secret.wav,One.\na.wav,Two.\n"})
    (raw / "link.wav").symlink_to(tmp_path / "secret.wav")
    found = find_sources(raw, transcribe=False).recordings
    assert found == (
        Recording("../secret.wav", None, (Utterance("One."),)),
        Recording("a.wav", raw / "a.wav", (Utterance("Two."),)),
    )


def test_a_row_whose_file_is_missing_gets_no_recording_of_that_name_from_elsewhere(tmp_path: Path) -> None:
    raw = make(tmp_path, {"0001.wav": "", "0001.txt": "Anna's.", "wavs/0002.wav": "", "wavs/0002.txt": "Anna's too."})
    make(
        raw / "ben", {"list.csv": "file,text\n0001.wav,Ben's.\nwavs/0002.wav,Ben's.\n3.wav,Ben's.\n", "wavs/3.wav": ""}
    )
    found = {one.name: (one.path, one.utterances[0].text) for one in find_sources(raw, transcribe=False).recordings}
    assert found == {
        "0001.wav": (raw / "0001.wav", "Anna's."),
        "ben/0001.wav": (None, "Ben's."),
        "ben/wavs/0002.wav": (None, "Ben's."),
        "ben/wavs/3.wav": (raw / "ben/wavs/3.wav", "Ben's."),
        "wavs/0002.wav": (raw / "wavs/0002.wav", "Anna's too."),
    }


def test_a_table_finds_its_recordings_whatever_the_path_to_the_folder_looks_like(tmp_path: Path) -> None:
    make(tmp_path / "raw", {"a.wav": "", "metadata.csv": "a|One.\n"})
    (tmp_path / "here").mkdir()
    assert texts(tmp_path / "here/../raw") == {"a.wav": ["One."]}


def test_a_recording_that_is_listed_twice_keeps_its_first_line(tmp_path: Path) -> None:
    raw = make(tmp_path, {"a.wav": "", "metadata.csv": "a|One.\na|Two.\n"})
    (only,) = find_sources(raw, transcribe=False).recordings
    assert (only.utterances, only.repeats) == ((Utterance("One."),), 1)


def test_subtitles_go_before_a_table_and_keep_its_speaker(tmp_path: Path) -> None:
    cue = "1\n00:00:01,000 --> 00:00:02,000\nOne.\n"
    raw = make(tmp_path, {"a.wav": "", "a.srt": cue, "list.csv": "file,text,speaker\na.wav,All of it.,bea\n"})
    (only,) = find_sources(raw, transcribe=False).recordings
    assert only.utterances == (Utterance("One.", "bea", start=1.0, end=2.0),)


def test_hidden_files_and_those_of_archives_are_left_out(tmp_path: Path) -> None:
    raw = make(tmp_path, {"a.wav": "", "a.txt": "One.", ".hid.wav": ""})
    make(raw / "__MACOSX", {"b.wav": ""})
    assert list(texts(raw)) == ["a.wav"]


@pytest.mark.parametrize("name", [b"Gr\xfc\xdfe.wav", b"Gr\xfc\xdfe/a.wav"])
def test_a_name_that_is_not_utf8_is_refused_in_words_that_are(tmp_path: Path, name: bytes) -> None:
    raw = make(tmp_path, {"a.wav": "", "a.txt": "One."})
    path = raw / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    with pytest.raises(InvalidRequest, match=r"^raw/Gr\\xfc\\xdfe.* not UTF-8; rename it") as refused:
        find_sources(raw, transcribe=False)
    assert refused.value.message.encode()


def test_without_transcripts_the_error_says_what_was_looked_for(tmp_path: Path) -> None:
    raw = make(tmp_path, {"a.wav": "", "notes.md": "hello"})
    with pytest.raises(
        InvalidRequest, match=r"^raw/ has recordings \(1\) and no transcripts.*metadata\.csv.*JSONL.*\.srt.*transcribe"
    ):
        find_sources(raw, transcribe=False)
    assert texts(raw, transcribe=True) == {"a.wav": []}


@pytest.mark.parametrize("transcribe", [False, True])
def test_without_audio_there_is_nothing_to_prepare(tmp_path: Path, transcribe: bool) -> None:
    raw = make(tmp_path / "raw", {"a.txt": "One."})
    with pytest.raises(InvalidRequest, match=r"^raw/ has no audio"):
        find_sources(raw, transcribe=transcribe)
    with pytest.raises(InvalidRequest, match="there is no folder"):
        find_sources(tmp_path / "none", transcribe=transcribe)
