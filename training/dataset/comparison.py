"""What only shows when clips are compared: duplicates, texts that do not fit their audio, other voices."""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from training.dataset.base_model import Embedding
from training.dataset.facts import ClipFacts
from training.dataset.robust import CUTOFF, deviations

PACE_CLIPS = 20
SPEAKER_CLIPS = 8
"""Fewer clips say nothing of what is usual."""

PACE_SPREAD = 0.1
SPEAKER_SPREAD = 1.0
"""Least spread, see ``deviations``: of characters per second, and of distances to the mean voice."""

SAME_SECONDS = 0.1
SAME_DB = 1.0
"""Two encodings of one recording differ by less: in length, and in level on average over the envelope."""


def compare(clips: Sequence[ClipFacts], embeddings: dict[str, Embedding]) -> list[ClipFacts]:
    """``clips`` with those dropped that the others show to be wrong; ``embeddings`` by id of those that have a file.

    What is dropped for one reason is not there for the next. Earlier clips, by id, go before their duplicates.
    """
    found = {clip.id: clip for clip in clips}
    for check in (_duplicates, _pace, lambda kept: _speakers(kept, embeddings)):
        kept = sorted((clip for clip in found.values() if clip.reason is None), key=lambda clip: clip.id)
        found |= {clip.id: clip for clip in check(kept)}
    return [found[clip.id] for clip in clips]


def _duplicates(clips: Sequence[ClipFacts]) -> list[ClipFacts]:
    by_audio: dict[str, ClipFacts] = {}
    by_text: defaultdict[str, list[ClipFacts]] = defaultdict(list)
    changed = []
    for clip in clips:
        assert clip.sha256 is not None
        words = _words(clip.text)
        twin = by_audio.get(clip.sha256) or next((other for other in by_text[words] if _same(clip, other)), None)
        if twin is not None:
            changed.append(clip.dropped("duplicate", f"it is the same as {twin.id}"))
        else:
            by_audio[clip.sha256] = clip
            by_text[words].append(clip)
    return changed


def _words(text: str) -> str:
    """``text`` without what is not heard."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum())


def _same(one: ClipFacts, other: ClipFacts) -> bool:
    """Whether two clips of one text are one recording, encoded twice; a text said twice has another course."""
    if abs((one.seconds or 0.0) - (other.seconds or 0.0)) > SAME_SECONDS or len(one.envelope) != len(other.envelope):
        return False
    loud = max(max(one.envelope, default=0), max(other.envelope, default=0))
    floor = loud - 40  # what is so much quieter is noise, which encoders change
    levels = np.maximum(np.array([one.envelope, other.envelope], np.float64), floor)
    return float(np.mean(np.abs(levels[0] - levels[1]))) <= SAME_DB


def _pace(clips: Sequence[ClipFacts]) -> list[ClipFacts]:
    """A wrong transcript is mostly much too long or much too short; pace is compared on a logarithmic scale."""
    changed = []
    for group in _groups(clips, lambda clip: (clip.speaker, clip.language), PACE_CLIPS):
        paces = [len(_words(clip.text)) / (clip.seconds or 1.0) for clip in group]
        usual = max(float(np.median(paces)), 1e-3)
        # 1 + ln keeps the median at 1, so that the least spread is a share of the pace.
        for clip, pace, far in zip(
            group, paces, deviations([1 + math.log(max(p, 1e-3) / usual) for p in paces], PACE_SPREAD), strict=True
        ):
            if abs(far) > CUTOFF:
                detail = f"{pace:.1f} characters a second, {usual:.1f} is usual ({far:+.1f} deviations)"
                changed.append(clip.dropped("pace", detail))
    return changed


def _speakers(clips: Sequence[ClipFacts], embeddings: dict[str, Embedding]) -> list[ClipFacts]:
    """Cosine to the speaker's mean voice; the distance is judged against the usual one."""
    changed = []
    for group in _groups(clips, lambda clip: clip.speaker, SPEAKER_CLIPS):
        voices = np.stack([embeddings[clip.id] for clip in group]).astype(np.float64)
        mean = voices.mean(axis=0)
        cosines = voices @ mean / np.maximum(np.linalg.norm(voices, axis=1) * np.linalg.norm(mean), 1e-9)
        for clip, cosine, far in zip(group, cosines, deviations(list(1 - cosines), SPEAKER_SPREAD), strict=True):
            measured = clip.model_copy(update={"speaker_similarity": round(float(cosine), 4)})
            if far > CUTOFF:
                detail = f"cosine {cosine:.3f} to the mean of {clip.speaker}, {np.median(cosines):.3f} is usual"
                measured = measured.dropped("other_speaker", detail)
            changed.append(measured)
    return changed


def _groups(clips: Sequence[ClipFacts], key: Callable[[ClipFacts], Hashable], least: int) -> list[list[ClipFacts]]:
    groups: defaultdict[Hashable, list[ClipFacts]] = defaultdict(list)
    for clip in clips:
        groups[key(clip)].append(clip)
    return [group for group in groups.values() if len(group) >= least]
