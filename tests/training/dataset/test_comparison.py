"""What only shows when clips are compared."""

from __future__ import annotations

import random

import numpy as np

from serving.audio.pcm import Pcm
from tests.factories.recordings import COUNTS, spoken
from training.dataset.base_model import BaseModel, Embedding
from training.dataset.comparison import compare
from training.dataset.facts import ClipFacts
from training.dataset.measures import envelope
from training.dataset.metadata import SAMPLE_RATE


def clip(number: int, text: str, seconds: float, pcm: Pcm | None = None) -> ClipFacts:
    course = (number,) * 48 if pcm is None else envelope(pcm)
    return ClipFacts(
        id=f"c{number:02}",
        recording=f"{number}.wav",
        text=text,
        speaker="anna",
        language="en",
        seconds=seconds,
        file=f"clips/{number}.wav",
        sha256=str(number),
        envelope=course,
    )


def same_voice(clips: list[ClipFacts]) -> dict[str, Embedding]:
    return {one.id: np.eye(512, dtype=np.float32)[0] for one in clips}


def reasons(clips: list[ClipFacts], voices: dict[str, Embedding] | None = None) -> dict[str, str]:
    found = compare(clips, voices or same_voice(clips))
    assert [one.id for one in found] == [one.id for one in clips]
    return {one.id: one.reason for one in found if one.reason}


def test_the_same_audio_counts_once_whatever_its_text() -> None:
    clips = [clip(1, "One.", 2), clip(2, "Two.", 2), clip(3, "Three.", 2).model_copy(update={"sha256": "1"})]
    assert reasons(clips) == {"c03": "duplicate"}


def test_a_second_encoding_of_a_text_is_a_duplicate_and_a_second_take_is_none() -> None:
    text = "Seven and eight and nine and ten."
    first, other_take = np.array(spoken(text)), np.array(spoken(text, "f2"))
    noise = np.random.default_rng(0).standard_normal(len(first)).astype(np.float32)
    seconds = len(first) / SAMPLE_RATE
    clips = [
        clip(1, text, seconds, first),
        clip(2, text.upper(), seconds, first + np.float32(0.0005) * noise),
        clip(3, text, len(other_take) / SAMPLE_RATE, other_take),
        clip(4, "Another text.", seconds, first + np.float32(0.0005) * noise),
    ]
    assert reasons(clips) == {"c02": "duplicate"}


def read_aloud(number: int) -> list[ClipFacts]:
    """Texts of many lengths at 13 to 17 characters a second."""
    chance = random.Random(3)
    lengths = [chance.randint(20, 150) for _ in range(number)]
    return [clip(at, "a" * length, length / chance.uniform(13, 17)) for at, length in enumerate(lengths)]


def test_a_text_far_too_long_or_too_short_for_its_audio_is_dropped() -> None:
    clips = [*read_aloud(30), clip(40, "a" * 120, 2), clip(41, "aaaa", 8)]
    assert reasons(clips) == {"c40": "pace", "c41": "pace"}


def test_a_few_clips_say_nothing_of_the_usual_pace() -> None:
    assert reasons([*read_aloud(10), clip(40, "a" * 120, 2)]) == {}


def test_noise_among_the_clips_of_a_voice_is_heard_by_the_encoder(base: BaseModel) -> None:
    """The tiny checkpoint's encoder has random weights: it tells sound from sound, not person from person."""
    noise = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE).astype(np.float32) * np.float32(0.1)
    heard = [*(np.array(spoken(text)) for text in COUNTS), noise]
    clips = [clip(at, f"{at}", len(pcm) / SAMPLE_RATE, pcm) for at, pcm in enumerate(heard)]
    voices = {one.id: base.embedding(pcm) for one, pcm in zip(clips, heard, strict=True)}
    found = compare(clips, voices)
    assert [one.id for one in found if one.reason == "other_speaker"] == [f"c{len(COUNTS):02}"]
    assert all(one.speaker_similarity is not None for one in found)
    assert reasons([clips[0], *clips[-2:]], voices) == {}  # three clips have no usual voice


def test_each_speaker_is_compared_with_their_own_clips() -> None:
    anna, bea = np.eye(512, dtype=np.float32)[:2]
    clips = [clip(at, f"{at}", 2).model_copy(update={"speaker": "bea" if at >= 10 else "anna"}) for at in range(20)]
    voices = {one.id: bea if one.speaker == "bea" else anna for one in clips}
    assert reasons(clips, voices) == {}
    assert reasons(clips, voices | {"c03": bea}) == {"c03": "other_speaker"}
