"""Texts with times become sentences whose ends lie where nobody speaks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.factories.recordings import silence, spoken, write_wav
from training.dataset.metadata import SAMPLE_RATE
from training.dataset.segments import LEAD_S, TAIL_S, Segment, bounds, join, sentences, shorten
from training.dataset.voice_activity import WINDOW_S, Region, VoiceActivity, blocks
from training.dataset.waveform import Waveform, read_waveform

PARTS = ("Twelve eleven ten nine.", "Two times two is four.", "Five plus five is ten.")


@pytest.fixture(scope="module")
def waveform(activity: VoiceActivity, tmp_path_factory: pytest.TempPathFactory) -> Waveform:
    """The three sentences, with 0.8 s between them."""
    path = write_wav(tmp_path_factory.mktemp("wave") / "a.wav", np.concatenate([spoken(part) for part in PARTS]))
    with tempfile.TemporaryFile() as spool:
        return read_waveform(path, path.name, spool, activity, lambda seconds: None)


def starts() -> list[float]:
    """When each sentence begins to sound, seconds."""
    ends = np.cumsum([0, *(len(spoken(part)) for part in PARTS)]) / SAMPLE_RATE
    return [float(end) + 0.4 for end in ends]


def test_a_clip_begins_and_ends_with_little_silence(waveform: Waveform) -> None:
    begin, following = starts()[1:3]
    found = bounds(waveform, begin - 0.3, following - 0.5)
    assert found is not None
    assert found.start == pytest.approx(begin, abs=0.3)
    assert found.end == pytest.approx(following - 0.8, abs=0.3)
    silent = np.abs(waveform.cut(found.start, found.end)) > 1e-3
    assert 0 < int(np.argmax(silent)) / SAMPLE_RATE <= 0.3
    assert 0 < int(np.argmax(silent[::-1])) / SAMPLE_RATE <= 0.3
    assert not found.cuts_speech


@pytest.mark.parametrize("off", [-0.2, 0.2])
def test_times_that_are_a_little_off_cut_no_word(waveform: Waveform, off: float) -> None:
    exact = bounds(waveform, starts()[1] - 0.1, starts()[2] - 0.7)
    found = bounds(waveform, starts()[1] - 0.1 + off, starts()[2] - 0.7 + off)
    assert exact is not None
    assert found is not None
    assert found.start == pytest.approx(exact.start, abs=0.05)
    assert found.end == pytest.approx(exact.end, abs=0.05)


def test_times_amid_speech_are_told(activity: VoiceActivity, tmp_path: Path) -> None:
    text = "Seven and eight and nine and ten."
    quiet = round(0.4 * SAMPLE_RATE)
    path = write_wav(tmp_path / "a.wav", spoken(text)[quiet + 4000 : -quiet - 4000])
    with tempfile.TemporaryFile() as spool:
        waveform = read_waveform(path, path.name, spool, activity, lambda seconds: None)
    found = bounds(waveform, 0, waveform.seconds)
    assert found is not None
    assert found.cuts_speech


def test_where_nobody_speaks_there_is_no_clip(activity: VoiceActivity, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", silence(3))
    with tempfile.TemporaryFile() as spool:
        waveform = read_waveform(path, path.name, spool, activity, lambda seconds: None)
    assert bounds(waveform, 0, 3) is None


def test_half_of_a_short_pause_belongs_to_each_side() -> None:
    pause = Region(2.0, 2.1)
    regions = [Region(1, pause.start), Region(pause.end, 3)]
    times = np.arange(0, 4, WINDOW_S)
    spoken_at = [any(one.start <= time < one.end for one in regions) for time in times]
    waveform = Waveform(silence(4), np.array(spoken_at, np.float32), regions, [])
    before, after = bounds(waveform, 1.0, 2.05), bounds(waveform, 2.05, 3.0)
    assert before is not None
    assert after is not None
    assert before.end == pytest.approx(2.05)
    assert after.start == pytest.approx(2.05)


def test_cues_are_joined_until_the_sentence_ends() -> None:
    cues = [Segment(0, 2, "One two"), Segment(2, 4, "three."), Segment(4.2, 8, "Four."), Segment(8, 12, "Five.")]
    joined = join(cues, longest_s=11, most_characters=250, language="en")
    assert [(one.start, one.end, one.text) for one in joined] == [
        (0, 4, "One two three."),
        (4.2, 8, "Four."),
        (8, 12, "Five."),
    ]


def test_short_sentences_take_the_next_along() -> None:
    cues = [Segment(0, 1, "One."), Segment(1.2, 2, "Two."), Segment(2.1, 5, "Three.")]
    assert [one.text for one in join(cues, longest_s=11, most_characters=250, language="en")] == ["One. Two. Three."]


@pytest.mark.parametrize(
    ("limits", "gap"), [({"longest_s": 3.0}, 0.0), ({"most_characters": 8}, 0.0), ({}, 1.5)], ids=str
)
def test_nothing_is_joined_over_a_limit_or_a_long_pause(limits: dict[str, float], gap: float) -> None:
    cues = [Segment(0, 2, "One two"), Segment(2 + gap, 4 + gap, "three.")]
    most = int(limits.get("most_characters", 250))
    assert join(cues, longest_s=limits.get("longest_s", 11), most_characters=most, language="en") == cues


def test_chinese_is_joined_without_a_blank() -> None:
    cues = [Segment(0, 1, "一二"), Segment(1, 2, "三。")]
    assert join(cues, longest_s=11, most_characters=82, language="zh")[0].text == "一二三。"


def words(*spoken_words: str, length: float = 0.5) -> list[Segment]:
    return [Segment(at * length, at * length + 0.4, word) for at, word in enumerate(spoken_words)]


def test_words_are_parted_at_sentence_ends_but_not_behind_abbreviations() -> None:
    found = sentences(words(" Mr.", " Ten", " met", " one.", " Two", " of", " three?", " Four."), 11)
    assert [one.text for one in found] == ["Mr. Ten met one.", "Two of three?", "Four."]
    assert (found[1].start, found[1].end) == (2.0, 3.4)


def test_a_sentence_that_is_too_long_is_cut_at_its_longest_pause() -> None:
    long = [*words(" one", " two", " three"), Segment(3.0, 3.4, " four"), Segment(3.5, 3.9, " five.")]
    assert [one.text for one in sentences(long, 3.5)] == ["one two three", "four five."]


def test_a_word_longer_than_the_limit_stays_whole() -> None:
    word = [Segment(0, 20, " one")]
    assert shorten(word[0], word, 11) == word


def test_blocks_are_cut_at_the_longest_pauses_and_none_is_too_long() -> None:
    regions = [Region(0, 4), Region(4.2, 8), Region(10, 13), Region(13.1, 16), Region(40, 41)]
    found = blocks(regions, np.ones(2000, np.float32), 11)
    assert found == [Region(0, 8), Region(10, 16), Region(40, 41)]


def test_speech_without_a_pause_is_cut_where_it_is_least_sure() -> None:
    probabilities = np.ones(700, np.float32)
    probabilities[300] = 0.4  # 9.6 s
    found = blocks([Region(0, 20)], probabilities, 11)
    assert found[0].end == pytest.approx(9.6)
    assert all(block.end - block.start <= 11 for block in found)
    assert found[-1].end == 20


def test_the_silence_that_stays_is_what_the_contract_allows() -> None:
    assert max(LEAD_S, TAIL_S) + 0.032 <= 0.3
