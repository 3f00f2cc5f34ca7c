"""Subtitles of a job: a cue a sentence, from the measured lengths of the audio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from serving.audio.encode import OUTPUT_RATE
from serving.store.job_items import JobItem

SubtitleFormat = Literal["srt", "vtt"]

MEDIA_TYPES = {"srt": "application/x-subrip; charset=utf-8", "vtt": "text/vtt; charset=utf-8"}


@dataclass(frozen=True)
class Cue:
    """A sentence from sample ``start`` to sample ``end`` of the joined audio."""

    start: int
    end: int
    text: str


def cues(items: Iterable[JobItem]) -> Iterator[Cue]:
    """The sentences of the spoken ``items``, one after the other."""
    at = 0
    for item in items:
        for text, samples in item.sentences:
            if samples:
                yield Cue(at, at + samples, text)
            at += samples


def subtitles(items: Iterable[JobItem], kind: SubtitleFormat) -> Iterator[str]:
    """A SubRip or WebVTT file; times are rounded to their millisecond, from whole numbers of samples."""
    if kind == "vtt":
        yield "WEBVTT\n\n"
    for number, cue in enumerate(cues(items), 1):
        text = " ".join(cue.text.split())
        if kind == "vtt":
            text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        mark = "." if kind == "vtt" else ","
        yield f"{number}\n{_time(cue.start, mark)} --> {_time(cue.end, mark)}\n{text}\n\n"


def _time(samples: int, mark: str) -> str:
    milliseconds = (samples * 1000 + OUTPUT_RATE // 2) // OUTPUT_RATE
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{rest:03}"
