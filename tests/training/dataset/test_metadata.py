"""metadata.csv is written and read without loss, and refused with the line that is wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from serving.errors import InvalidRequest
from training.dataset.metadata import METADATA, Clip, read_metadata, write_metadata


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    (tmp_path / "clips").mkdir()
    clips = [
        Clip("a-1", tmp_path / "clips" / "a-1.wav", 'He said: "no".', "ada", "en", "train", 2.5),
        Clip("b", tmp_path / "clips" / "b.wav", "Straße, não?", "ada", "de", "val", 11.0),
    ]
    for clip in clips:
        clip.path.touch()
    return clips


def test_what_is_written_is_read_again(clips: list[Clip], tmp_path: Path) -> None:
    write_metadata(tmp_path, clips)
    assert read_metadata(tmp_path) == clips


def test_coquis_own_reader_takes_the_file(clips: list[Clip], tmp_path: Path) -> None:
    from TTS.tts.datasets.formatters import coqui

    write_metadata(tmp_path, clips)
    items = coqui(str(tmp_path), METADATA)
    assert [(Path(item["audio_file"]), item["text"], item["speaker_name"]) for item in items] == [
        (clip.path, clip.text, clip.speaker) for clip in clips
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("clips/a-1.wav|text|ada|en|train", "line 3 has 5 fields"),
        ("clips/missing.wav|text|ada|en|train|1", "line 3 names 'clips/missing.wav'"),
        ("../../etc/hosts|text|ada|en|train|1", "line 3 names '../../etc/hosts'"),
        ("clips/b.wav|text|ada|en|test|1", "split 'test'"),
        ("clips/b.wav|text|ada|en|train|long", "'long' seconds"),
        ("clips/a-1.wav|text|ada|en|train|1", "two clips have the same file name"),
    ],
)
def test_a_broken_line_is_named(line: str, reason: str, clips: list[Clip], tmp_path: Path) -> None:
    write_metadata(tmp_path, clips[:1])
    path = tmp_path / METADATA
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InvalidRequest, match=reason) as refused:
        read_metadata(tmp_path)
    assert refused.value.param == "dataset"


def test_a_file_of_other_columns_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=METADATA):
        read_metadata(tmp_path)
    (tmp_path / METADATA).write_text("id|text\n")
    with pytest.raises(InvalidRequest, match="first line"):
        read_metadata(tmp_path)


def test_texts_with_a_bar_or_a_line_break_are_not_for_this_format(clips: list[Clip], tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="preparation"):
        write_metadata(tmp_path, [dataclasses.replace(clips[0], text="a|b")])
