"""Subtitles in both formats, as tools write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import InvalidRequest
from training.dataset.subtitles import Cue, read_cues

SRT = """1
00:00:01,000 --> 00:00:02,500
- <i>One</i> &amp;
two.

2
00:00:02,400 --> 00:00:04,000 X1:10 X2:20
{\\an8}Three.
3
00:01:00,5 --> 01:00:00,000
[music] Four.

4
02:00:00,000 --> 02:00:01,000
[applause]
"""

VTT = """WEBVTT - a title

NOTE nothing here
is said

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.500 align:start
<v Anna>One &amp;
two.

00:02.500 --> 00:04.000
Three.
"""


def test_srt_is_read_with_its_tags_asides_and_overlaps_gone(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text(SRT)
    assert read_cues(path) == [
        Cue(1.0, 2.4, "One & two."),
        Cue(2.4, 4.0, "Three."),
        Cue(60.5, 3600.0, "Four."),
    ]


def test_vtt_is_read_without_notes_and_styles(tmp_path: Path) -> None:
    path = tmp_path / "a.vtt"
    path.write_text(VTT)
    assert read_cues(path) == [Cue(1.0, 2.5, "One & two."), Cue(2.5, 4.0, "Three.")]


def cues(path: Path, *said: tuple[float, float, str]) -> list[Cue]:
    """What is read of a file with these cues."""
    blocks = (f"00:00:{start:06.3f} --> 00:00:{end:06.3f}\n{text}\n" for start, end, text in said)
    path.write_text("\n".join(blocks))
    return read_cues(path)


def test_what_is_said_at_once_is_one_cue_with_all_its_words(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    assert cues(path, (12, 14, "Hi."), (12, 14, "Hello.")) == [Cue(12, 14, "Hi. Hello.")]
    assert cues(path, (1, 10, "A long one."), (3, 4, "Yes."), (10, 11, "So.")) == [
        Cue(1, 10, "A long one. Yes."),
        Cue(10, 11, "So."),
    ]
    assert cues(path, (1, 3, "One."), (2.5, 5, "Two."), (4.8, 6, "Three.")) == [
        Cue(1, 4.8, "One. Two."),
        Cue(4.8, 6, "Three."),
    ]
    assert cues(path, (1, 1.2, "One."), (1, 1.2, "Two.")) == [Cue(1, 1.2, "One. Two.")]


def test_captions_that_roll_end_where_the_next_line_is_said(tmp_path: Path) -> None:
    rolling = [(2.0 * at, 2.0 * at + 3.5, f"Line {at}.") for at in range(12)]
    assert cues(tmp_path / "a.srt", *rolling)[:-1] == [Cue(start, start + 2, text) for start, _, text in rolling[:-1]]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("1\n{0}\nOne.\n\nTwo.\n\n2\n{1}\nThree.\n \nFour.\n\n", ["One. Two.", "Three. Four."]),
        ("1\n\n{0}\n\nOne.\n\nTwo.\n\n2\n\n{1}\n\nThree.\n\n", ["One. Two.", "Three."]),
        ("{0}\nIn\n1990\n\n{1}\nThree.\n", ["In 1990", "Three."]),
    ],
)
def test_an_empty_line_ends_no_cue_of_subrip_and_numbers_of_cues_are_no_words(
    tmp_path: Path, content: str, texts: list[str]
) -> None:
    path = tmp_path / "a.srt"
    path.write_text(content.format("00:00:01,000 --> 00:00:02,000", "00:00:02,000 --> 00:00:03,000"))
    assert [cue.text for cue in read_cues(path)] == texts


def test_a_line_of_blanks_ends_no_cue_of_webvtt(tmp_path: Path) -> None:
    path = tmp_path / "a.vtt"
    path.write_text("WEBVTT\n\n00:01.000 --> 00:05.000\nFirst line\n \nsecond line\n\nNOTE nothing\n")
    assert [cue.text for cue in read_cues(path)] == ["First line second line"]


def test_cues_come_in_the_order_of_their_times(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text("00:00:05,000 --> 00:00:06,000\nSix.\n\n00:00:01,000 --> 00:00:02,000\nTwo.\n")
    assert [cue.text for cue in read_cues(path)] == ["Two.", "Six."]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\n00:00:01 --> 00:00:02\nOne.\n", "line 2 has no times"),
        ("1\n00:00:03,000 --> 00:00:02,000\nOne.\n", "line 2 ends before it starts"),
        ("Nothing but words.\n", "has no cues"),
    ],
)
def test_what_is_broken_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.srt"
    path.write_text(content)
    with pytest.raises(InvalidRequest, match=message):
        read_cues(path)
