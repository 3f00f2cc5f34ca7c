"""Verdicts on recordings, each against one that deserves it."""

from __future__ import annotations

import numpy as np
import pytest

from serving.audio.pcm import Pcm
from serving.audio.resample import resample
from serving.audio.wav import wav_bytes
from serving.errors import PayloadTooLarge
from serving.quality import with_similarity
from serving.settings_groups import LimitSettings
from serving.store.quality import QualityReport
from serving.voices import PreparedVoice, prepare_voice
from tests.spoken import RATE, noisy, spoken

LIMITS = LimitSettings()


def prepared(*recordings: Pcm, rate: int = RATE, clean: bool = False) -> PreparedVoice:
    return prepare_voice([wav_bytes(pcm, rate) for pcm in recordings], LIMITS, ["f"] * len(recordings), clean=clean)


def warnings(report: QualityReport) -> dict[str, str]:
    return {check.name: check.message for check in report.checks if check.verdict == "warn"}


def test_good_speech_has_no_warning_and_speakers_are_not_judged_without_an_encoder() -> None:
    report = prepared(spoken(), spoken("m2")).quality
    assert (report.verdict, warnings(report)) == ("ok", {})
    assert {check.name: check.verdict for check in report.checks}["speakers"] == "not_judged"
    assert len(report.recordings) == 2
    assert report.seconds == pytest.approx(sum(each.seconds for each in report.recordings), abs=0.01)


@pytest.mark.parametrize(
    ("pcm", "rate", "name", "words"),
    [
        (noisy(spoken(), 8), RATE, "noise", "only [789] dB below the speech; .*denoise=true"),
        (np.clip(spoken() * 12, -1, 1), RATE, "clipping", "% of the samples clip; record at a lower level"),
        (spoken() * np.float32(0.05), RATE, "loudness", "quiet; go closer"),
        (resample(resample(spoken(), RATE, 8000), 8000, 24000), 24000, "bandwidth", "above 4.0 kHz, as on a telephone"),
        (np.concatenate([spoken(), np.zeros(20 * RATE, np.float32)]), RATE, "silence", "Nobody speaks in [678]"),
        (spoken()[: 3 * RATE], RATE, "length", "send 6 to 30 s"),
    ],
    ids=["noise", "clipping", "quiet", "telephone", "silence", "short"],
)
def test_a_fault_is_warned_of_and_said_what_to_do_about(pcm: Pcm, rate: int, name: str, words: str) -> None:
    import re

    report = prepared(pcm, rate=rate).quality
    assert report.verdict == "warn"
    assert re.search(words, warnings(report)[name]), warnings(report)


def test_of_several_recordings_the_bad_one_is_named() -> None:
    report = prepared(spoken(), noisy(spoken(), 5), noisy(spoken(), 5)).quality
    assert list(warnings(report)) == ["noise"]
    assert warnings(report)["noise"].startswith("Recording 2 and 1 more: ")


@pytest.mark.parametrize(("similarity", "verdict"), [(0.9, "ok"), (0.2, "warn"), (None, "not_judged")])
def test_what_the_speaker_encoder_says_is_part_of_the_report(similarity: float | None, verdict: str) -> None:
    report = with_similarity(prepared(spoken(), spoken()).quality, similarity)
    (check,) = [check for check in report.checks if check.name == "speakers"]
    assert (check.verdict, report.speaker_similarity) == (verdict, similarity)
    assert report.verdict == ("warn" if verdict == "warn" else "ok")


def test_noise_is_taken_out_if_asked_for_and_the_report_says_so() -> None:
    bad = noisy(spoken(), 8)
    kept, cleaned = prepared(bad), prepared(bad, clean=True)
    (facts,) = cleaned.quality.recordings
    assert facts.denoised
    assert facts.snr_before_db == pytest.approx(8, abs=2)
    assert facts.snr_db > 30
    assert "noise" not in warnings(cleaned.quality)
    assert cleaned.references != kept.references
    assert len(cleaned.references[0]) == len(kept.references[0])


def test_a_clean_recording_is_kept_to_the_bit() -> None:
    cleaned = prepared(spoken(), clean=True)
    assert cleaned.references == prepared(spoken()).references
    assert not cleaned.quality.recordings[0].denoised


def test_the_longest_reference_holds_for_all_together_and_the_recording_is_named() -> None:
    limits = LimitSettings(reference_max_s=10.0)
    with pytest.raises(PayloadTooLarge, match="longer than 10 s together") as caught:
        prepare_voice([wav_bytes(spoken(), RATE)] * 2, limits, ["f", "f"])
    assert caught.value.param == "f"
