import numpy as np
import pytest

from serving.audio.pcm import Audio
from training.xtts.scores import edit_distance, repeated, score_audio, score_transcript, words

RATE = 24000


def tone(seconds: float, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * 220 * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def test_silence_is_what_lies_forty_decibels_below_the_loud_frames() -> None:
    def share(pause: np.ndarray) -> float | None:
        return score_audio(Audio(np.concatenate([tone(1), pause]), RATE), "text").silence_share

    assert share(tone(1, 0.0)) == pytest.approx(0.5, abs=0.02)
    assert share(tone(1, 0.5 * 10 ** (-45 / 20))) == pytest.approx(0.5, abs=0.02)
    assert share(tone(1, 0.5 * 10 ** (-35 / 20))) == 0
    assert share(tone(3, 0.0)) == pytest.approx(0.75, abs=0.02)


def test_audio_without_any_sound_is_all_silence() -> None:
    scores = score_audio(Audio(np.zeros(RATE, np.float32), RATE), "text")
    assert (scores.silence_share, scores.clipped_share) == (1.0, 0.0)


def test_of_no_audio_nothing_is_claimed() -> None:
    scores = score_audio(Audio(np.zeros(0, np.float32), RATE), "text")
    assert scores.silence_share is None
    assert scores.clipped_share is None
    assert scores.seconds == 0


def test_clipped_samples_are_counted_on_both_sides() -> None:
    pcm = tone(1)
    pcm[:1200], pcm[1200:2400] = 1.0, -1.0
    assert score_audio(Audio(pcm, RATE), "text").clipped_share == pytest.approx(2400 / RATE)


def test_the_pace_counts_no_spaces() -> None:
    assert score_audio(Audio(tone(2), RATE), "to be  or").seconds_per_character == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [("", "", 0), ("abc", "", 3), ("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("abc", "abc", 0)],
)
def test_edit_distance(first: str, second: str, distance: int) -> None:
    assert edit_distance(first, second) == distance
    assert edit_distance(list(first), list(second)) == distance


def test_words_have_neither_case_nor_punctuation() -> None:
    assert words("Don't “stop”, Straße -- now!") == ["dont", "stop", "strasse", "now"]
    assert words("नमस्ते, आप") == ["नमस्ते", "आप"]


def test_a_text_that_was_understood_has_no_errors() -> None:
    scores = score_transcript("Good morning, Ada!", "good morning ada", "en")
    assert (scores.cer, scores.wer, scores.repeated_words) == (0, 0, 0)


def test_errors_are_counted_per_word_and_per_character() -> None:
    scores = score_transcript("one two three four", "one too three for", "en-GB")
    assert scores.wer == pytest.approx(2 / 4)
    assert scores.cer == pytest.approx(2 / 15)
    assert score_transcript("one two", "", "en").wer == 1


def test_a_language_without_spaces_has_no_word_error_rate() -> None:
    scores = score_transcript("今天天气很好。", "今天天气真好", "zh-cn")
    assert scores.wer is None
    assert scores.cer == pytest.approx(1 / 6)


def test_what_is_said_twice_is_counted_and_what_was_to_be_said_twice_is_not() -> None:
    assert repeated(["a", "b", "c"]) == 0
    assert repeated(["a", "a", "b"]) == 1
    assert repeated(["so", "we", "go", "we", "go", "we", "go", "home"]) == 4
    assert score_transcript("no no, we go", "no no we go we go we go", "en").repeated_words == 4
