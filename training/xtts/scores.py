"""What can be measured of spoken audio without a listener."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.audio.pcm import Audio
from serving.engines.pace import DENSE

FRAME_S = 0.02
QUIET_DB = 40.0
"""So far below its loud frames (the 95th percentile of their level) a frame counts as silence."""

CLIPPED = 0.999
"""Share of full scale from which a sample counts as clipped."""


@dataclass(frozen=True, slots=True)
class AudioScores:
    """``silence_share`` and ``clipped_share`` are shares of frames and samples; None where there is no audio."""

    seconds: float
    seconds_per_character: float
    silence_share: float | None
    clipped_share: float | None


@dataclass(frozen=True, slots=True)
class TextScores:
    """What a recogniser understood, and the errors in it: edits per character and per word of the text.

    ``wer`` is None in languages that are written without spaces. ``repeated_words`` counts words that were heard twice
    in a row, alone or as part of a phrase, beyond those in the text.
    """

    transcript: str
    cer: float
    wer: float | None
    repeated_words: int


def score_audio(audio: Audio, text: str) -> AudioScores:
    """Scores of ``audio``, which speaks ``text``."""
    characters = len("".join(text.split()))
    assert characters, "a clip has a text"
    return AudioScores(
        audio.seconds,
        audio.seconds / characters,
        _silence_share(audio) if len(audio.pcm) else None,
        float(np.mean(np.abs(audio.pcm) >= CLIPPED)) if len(audio.pcm) else None,
    )


def score_transcript(text: str, transcript: str, language: str) -> TextScores:
    """Compare what was to be said with what was heard; case, punctuation and spaces do not count.

    Numbers in figures count as errors where one of the two spells them out.
    """
    asked, heard = words(text), words(transcript)
    dense = language.partition("-")[0] in DENSE
    return TextScores(
        transcript,
        edit_distance("".join(asked), "".join(heard)) / max(1, len("".join(asked))),
        None if dense else edit_distance(asked, heard) / max(1, len(asked)),
        max(0, repeated(heard) - repeated(asked)),
    )


def words(text: str) -> list[str]:
    """The words of ``text`` in lower case, without punctuation; apostrophes join."""
    folded = (
        unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("\N{RIGHT SINGLE QUOTATION MARK}", "")
    )
    kept = (character if unicodedata.category(character)[0] in "LNM" else " " for character in folded)
    return "".join(kept).split()


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Levenshtein's: the fewest insertions, deletions and substitutions that make ``second`` of ``first``."""
    row = list(range(len(second) + 1))
    for at, item in enumerate(first, 1):
        diagonal, row[0] = row[0], at
        for column, other in enumerate(second, 1):
            diagonal, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, diagonal + (item != other))
    return row[-1]


def repeated(spoken: Sequence[str], longest: int = 6) -> int:
    """Words that say again what was said just before, in phrases of at most ``longest`` words."""
    count = at = 0
    while at < len(spoken):
        sizes = range(min(longest, at, len(spoken) - at), 0, -1)
        size = next((size for size in sizes if spoken[at - size : at] == spoken[at : at + size]), 0)
        count += size
        at += size or 1
    return count


def _silence_share(audio: Audio) -> float:
    size = min(len(audio.pcm), max(1, round(FRAME_S * audio.sample_rate)))
    frames = audio.pcm[: len(audio.pcm) // size * size].reshape(-1, size).astype(np.float64)
    level = np.sqrt(np.mean(frames**2, axis=1))
    loud = float(np.percentile(level, 95))
    return float(np.mean(level <= loud * 10 ** (-QUIET_DB / 20)))
