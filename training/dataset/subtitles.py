"""SubRip (.srt) and WebVTT (.vtt): what is said when."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.errors import InvalidRequest
from training.dataset.plain import clean_text, read_text

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMING = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?$")
_TAG = re.compile(r"<[^>]*>|\{\\[^}]*\}")
_ASIDE = re.compile(r"\[[^\]]*\]|♪[^♪]*♪?|^\s*[-–]\s+", re.MULTILINE)  # noqa: RUF001  dialogue dashes
"""[music], a song, the dash before another speaker: none of it is read out."""


OVERLAP_S = 0.3 + 1e-6
"""Times are that inexact; who speaks into the words of another overlaps by more."""

ROLLING = 8
"""So many overlaps are no longer people who speak at once."""


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
    text = read_text(path)
    cues: list[Cue] = []
    timing: tuple[float, float] | None = None
    words: list[str] = []
    numbered = False
    empty_line_ends = path.suffix.lower() == ".vtt" or text.startswith("WEBVTT")  # notes and styles come between cues
    for number, line in enumerate(text.splitlines(), 1):
        if "-->" in line:
            unnumbered = _without_number(words)
            if timing is not None:
                cues.append(_cue(timing, unnumbered if numbered else words))
            elif not cues:
                numbered = unnumbered != words
            timing, words = _timing(path, number, line), []
        elif line or not empty_line_ends:
            words.append(line)
        elif timing is not None:
            cues.append(_cue(timing, words))
            timing = None
    if timing is not None:
        cues.append(_cue(timing, words))
    if not cues:
        raise InvalidRequest(f"{path} has no cues; expected lines like 00:00:01,000 --> 00:00:03,500", "raw")
    return _apart([cue for cue in cues if cue.text])


def _without_number(lines: list[str]) -> list[str]:
    """Without the number of the next cue, if the last line that is not empty is one."""
    last = max((at for at, line in enumerate(lines) if line.strip()), default=-1)
    return lines[:last] if last >= 0 and lines[last].strip().isdigit() else lines


def _cue(timing: tuple[float, float], lines: Sequence[str]) -> Cue:
    return Cue(*timing, _spoken("\n".join(lines)))


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


def _apart(cues: Sequence[Cue]) -> list[Cue]:
    """Small overlaps are cut off. What is said at once is one cue: nothing tells where in it which words are.

    In captions that roll, line by line, each cue stays while the next is said: they end where the next one starts.
    """
    ordered = sorted(cues, key=lambda cue: (cue.start, cue.end))
    pairs = list(itertools.pairwise(ordered))
    rolls = sum(_rolls(*pair) for pair in pairs) > max(len(pairs) / 2, ROLLING)
    apart: list[Cue] = []
    for cue in ordered:
        before = apart[-1] if apart else None
        if before is None or before.end <= cue.start:
            apart.append(cue)
        elif before.start < cue.start and (before.end - cue.start <= OVERLAP_S or (rolls and _rolls(before, cue))):
            apart[-1:] = [Cue(before.start, cue.start, before.text), cue]
        else:
            apart[-1] = Cue(before.start, max(before.end, cue.end), f"{before.text} {cue.text}")
    return apart


def _rolls(cue: Cue, after: Cue) -> bool:
    return cue.start < after.start < cue.end < after.end
