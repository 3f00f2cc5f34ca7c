"""SubRip (.srt) and WebVTT (.vtt): what is said when."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

from serving.errors import InvalidRequest
from training.dataset.plain import clean_text, read_text

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMING = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?$")
_TAG = re.compile(r"<[^>]*>|\{\\[^}]*\}")
_ASIDE = re.compile(r"\[[^\]]*\]|♪[^♪]*♪?|^\s*[-–]\s+", re.MULTILINE)  # noqa: RUF001  dialogue dashes
"""[music], a song, the dash before another speaker: none of it is read out."""


@dataclass(frozen=True, slots=True)
class Cue:
    """``text`` is said between ``start`` and ``end`` seconds."""

    start: float
    end: float
    text: str


def read_cues(path: Path) -> list[Cue]:
    """The cues of a file in the order of their times, none reaching into the next, without those that say nothing.

    Raises InvalidRequest that names the file and line of a time that cannot be used, and for a file without cues.
    """
    cues: list[Cue] = []
    timing: tuple[float, float] | None = None
    words: list[str] = []
    for number, line in enumerate([*read_text(path).splitlines(), ""], 1):
        if "-->" in line:
            if timing is not None:  # no empty line between the two: the last line is this cue's number
                cues.append(Cue(*timing, _spoken("\n".join(words[:-1] if words and words[-1].isdigit() else words))))
            timing, words = _timing(path, number, line), []
        elif line.strip():
            words.append(line)
        elif timing is not None:
            cues.append(Cue(*timing, _spoken("\n".join(words))))
            timing = None
    if not cues:
        raise InvalidRequest(f"{path} has no cues; expected lines like 00:00:01,000 --> 00:00:03,500", "raw")
    return _apart([cue for cue in cues if cue.text])


def _timing(path: Path, number: int, line: str) -> tuple[float, float]:
    match = _TIMING.match(line)
    if match is None:
        raise InvalidRequest(f"{path}: line {number} has no times like 00:00:01,000 --> 00:00:03,500", "raw")
    start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
    if end <= start:
        raise InvalidRequest(f"{path}: line {number} ends before it starts", "raw")
    return start, end


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction}")


def _spoken(text: str) -> str:
    return clean_text(_ASIDE.sub(" ", html.unescape(_TAG.sub("", text))))


def _apart(cues: list[Cue]) -> list[Cue]:
    ordered = sorted(cues, key=lambda cue: (cue.start, cue.end))
    followers = [cue.start for cue in ordered[1:]] + [float("inf")]
    clipped = (Cue(cue.start, min(cue.end, after), cue.text) for cue, after in zip(ordered, followers, strict=True))
    return [cue for cue in clipped if cue.end > cue.start]
