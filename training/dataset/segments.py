"""Stretches of text with times: joined to sentences, and their ends moved to where nobody speaks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.audio.pcm import Pcm
from serving.engines.text import split_text
from training.dataset.waveform import Waveform

LONGEST_GAP_S = 1.0
SHORT_S = 3.0
"""A sentence of less than this takes the next one along: many short clips teach a model to ramble."""

NEAR_S = 0.3
"""How far from its given time an end may move; subtitles are that inexact."""

STEP_S = 0.016
EDGE_S, EDGE_DB = 0.02, 20.0
LEAD_S, TAIL_S = 0.15, 0.25
"""Silence that stays before and after the speech of a clip. Longer silence is what makes models end oddly."""

UNSPACED = ("zh", "ja")


@dataclass(frozen=True, slots=True)
class Segment:
    """``text`` is said between ``start`` and ``end`` seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """A clip within its recording, seconds. ``cuts_speech``: somebody speaks right at one of its ends."""

    start: float
    end: float
    cuts_speech: bool


def join(segments: Sequence[Segment], *, longest_s: float, most_characters: int, language: str) -> list[Segment]:
    """Segments joined until a sentence ends, and to at least 3 s, where length, text and pauses allow it."""
    blank = "" if language.startswith(UNSPACED) else " "
    joined: list[Segment] = []
    for segment in segments:
        before = joined[-1] if joined else None
        if before is not None and _belongs(before, segment, longest_s, most_characters):
            joined[-1] = Segment(before.start, segment.end, f"{before.text}{blank}{segment.text}")
        else:
            joined.append(segment)
    return joined


def _belongs(before: Segment, after: Segment, longest_s: float, most_characters: int) -> bool:
    if after.start - before.end > LONGEST_GAP_S or after.end - before.start > longest_s:
        return False
    if len(before.text) + 1 + len(after.text) > most_characters:
        return False
    return before.end - before.start < SHORT_S or not ends_sentence(before.text)


def ends_sentence(text: str) -> bool:
    """Whether another sentence could follow ``text``."""
    return len(split_text(f"{text} Aa", len(text) + 3)) > 1


def bounds(waveform: Waveform, start: float, end: float) -> Bounds | None:
    """The clip for what is said between ``start`` and ``end``; None where nobody speaks.

    Ends amid speech move to the nearest pause. Of the silence around the speech a little stays: at most half of the
    pause to what others say.
    """
    whole = waveform.seconds
    end = min(end, whole)
    start, end = _to_pause(waveform, start, 0.0, end), _to_pause(waveform, end, start, whole)
    spoken = [region for region in waveform.regions if region.end > start and region.start < end]
    if not spoken:
        return None
    before = max((region.end for region in waveform.regions if region.end <= start), default=-start)
    after = min(
        (region.start for region in waveform.regions if region.start >= end), default=2 * waveform.seconds - end
    )
    first, last = max(start, spoken[0].start), min(end, spoken[-1].end)
    lead = 0.0 if first > spoken[0].start else min(LEAD_S, max((first - before) / 2, 0.0))
    tail = 0.0 if last < spoken[-1].end else min(TAIL_S, max((after - last) / 2, 0.0))
    first, last = max(first - lead, 0.0), min(last + tail, whole)
    return Bounds(first, last, speaks_at_edge(waveform, first, last))


def speaks_at_edge(waveform: Waveform, first: float, last: float) -> bool:
    """Whether the very first or last 20 ms are speech, and nearly as loud as the loud parts between."""
    loud = level(waveform.cut(first, last)) - EDGE_DB
    edges = ((first, first, first + EDGE_S), (last - STEP_S, last - EDGE_S, last))
    return any(waveform.speaks_at(at) and level(waveform.cut(start, end)) > loud for at, start, end in edges)


def level(pcm: Pcm) -> float:
    """Mean level of ``pcm`` [samples], dBFS."""
    return 10 * math.log10(max(float(np.mean(np.square(pcm, dtype=np.float64))) if len(pcm) else 0.0, 1e-10))


def _to_pause(waveform: Waveform, time: float, lowest: float, highest: float) -> float:
    """``time``, or the nearest time within 0.3 s at which nobody speaks; the recording's own ends stay."""
    if not 0.0 < time < waveform.seconds:
        return time
    for step in range(int(NEAR_S / STEP_S) + 1):
        for moved in (time - step * STEP_S, time + step * STEP_S):
            if lowest <= moved <= highest and not waveform.speaks_at(moved):
                return moved
    return time


def shorten(segment: Segment, words: Sequence[Segment], longest_s: float) -> list[Segment]:
    """A segment of ``words`` cut at its longest pauses until no piece is longer than ``longest_s``."""
    if segment.end - segment.start <= longest_s or len(words) < 2:
        return [segment]
    cut = max(range(1, len(words)), key=lambda at: (words[at].start - words[at - 1].end, -abs(2 * at - len(words))))
    parts = (words[:cut], words[cut:])
    return [piece for part in parts for piece in shorten(sentence_of(part), part, longest_s)]


def sentence_of(words: Sequence[Segment]) -> Segment:
    """The words as one segment; each brings its own blanks."""
    return Segment(words[0].start, words[-1].end, "".join(word.text for word in words).strip())


def sentences(words: Sequence[Segment], longest_s: float) -> list[Segment]:
    """``words`` in their sentences, those longer than ``longest_s`` in parts."""
    text = "".join(word.text for word in words)
    lengths = [len("".join(sentence.split())) for sentence in split_text(text, max(len(text), 1))]
    found: list[Segment] = []
    group: list[Segment] = []
    due, seen = (lengths.pop(0) if lengths else 0), 0
    for word in words:
        group.append(word)
        seen += len("".join(word.text.split()))
        if seen >= due:  # a word may hold the end of one sentence and the start of the next
            found += shorten(sentence_of(group), group, longest_s)
            group = []
            while lengths and seen >= due:
                due += lengths.pop(0)
    if group:
        found += shorten(sentence_of(group), group, longest_s)
    return [segment for segment in found if segment.text]
