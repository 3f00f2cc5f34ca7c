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
