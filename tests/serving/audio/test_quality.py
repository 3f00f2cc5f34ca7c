"""Numbers about recordings, against recordings whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest

from serving.audio.pcm import Audio, Pcm
from serving.audio.quality import bandwidth_hz, clipped_share, loudness_lufs, measure
from serving.audio.resample import resample
from tests.audio_measure import noise, tone
from tests.spoken import PAUSE, RATE, noisy, spoken


@pytest.mark.parametrize("preset", ["m1", "f1"])
@pytest.mark.parametrize("snr", [0, 5, 10, 20, 30, 40])
def test_the_noise_is_estimated_within_two_decibels(preset: str, snr: float) -> None:
    assert measure(Audio(noisy(spoken(preset), snr), RATE)).snr_db == pytest.approx(snr, abs=2.0)


def test_clean_speech_is_clean_and_its_seconds_are_counted() -> None:
    found = measure(Audio(spoken(), RATE))
    pauses = 2 * len(PAUSE) / RATE
    assert found.snr_db > 60
    assert found.seconds - pauses - 1.0 < found.speech_seconds < found.seconds - pauses + 0.3
    assert found.peak_dbfs == pytest.approx(-10.46, abs=0.05)
    assert found.clipped_share == 0


def test_without_a_pause_noise_lowers_the_estimate_all_the_same() -> None:
    inner = spoken()[len(PAUSE) + RATE // 2 : len(PAUSE) + 2 * RATE]
    clean, bad = (measure(Audio(pcm, RATE)).snr_db for pcm in (inner, noisy(inner, 5)))
    assert bad < 15 < clean


def test_noise_and_a_tone_are_no_speech() -> None:
    for pcm in (noise(4.0, RATE), tone(220, 4.0, RATE)):
        assert measure(Audio(pcm, RATE)).speech_seconds < 0.5


@pytest.mark.parametrize("level", [1.0, 0.4], ids=["at full scale", "made quieter afterwards"])
def test_the_clipped_samples_are_counted(level: float) -> None:
    loud = spoken() * np.float32(10)
    clipped: Pcm = np.clip(loud, -1, 1) * np.float32(level)
    true_share = float(np.mean(np.abs(loud) >= 1))
    assert true_share > 0.01
    assert clipped_share(clipped) == pytest.approx(true_share, rel=0.35)
    assert clipped_share(spoken()) == 0
    assert clipped_share(tone(100, 2.0, 48000, 0.9)) < 1e-3


@pytest.mark.parametrize(("rate", "edge"), [(8000, 4000), (16000, 8000)])
def test_the_bandwidth_of_a_resampled_recording_is_its_first_rates(rate: int, edge: float) -> None:
    narrow = resample(resample(noisy(spoken(), 40), RATE, rate), rate, 44100)
    assert bandwidth_hz(Audio(narrow, 44100)) == pytest.approx(edge, abs=500)
    assert bandwidth_hz(Audio(spoken(), RATE)) > 8000


def test_loudness_is_that_of_the_standards_tone() -> None:
    # BS.1770: a 997 Hz sine of 0 dBFS in one channel has -3.01 LKFS.
    assert loudness_lufs(Audio(tone(997, 3.0, 48000, 1.0), 48000)) == pytest.approx(-3.01, abs=0.1)
    assert loudness_lufs(Audio(np.zeros(48000, np.float32), 48000)) is None
    assert loudness_lufs(Audio(tone(997, 0.2, 48000), 48000)) is None


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_a_very_short_recording_is_measured_too(rate: int) -> None:
    found = measure(Audio(tone(220, 0.05, rate), rate))
    assert found.speech_seconds == 0
    assert np.isfinite([found.snr_db, found.bandwidth_hz]).all()
