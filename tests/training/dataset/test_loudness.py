"""Loudness after the gain is what was asked for, but for peaks."""

from __future__ import annotations

import numpy as np
import pytest

from serving.audio.pcm import Pcm
from tests.factories.recordings import silence, spoken
from training.dataset.loudness import HIGHEST_PEAK, QUIETEST, loudness, normalised
from training.dataset.metadata import SAMPLE_RATE


def sine(seconds: float, amplitude: float) -> Pcm:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone: Pcm = (amplitude * np.sin(2 * np.pi * 997 * time)).astype(np.float32)
    return tone


def test_a_sine_measures_what_the_standard_says() -> None:
    assert loudness(sine(3, 10 ** (-20 / 20))) == pytest.approx(-23.01, abs=0.1)  # BS.1770: 997 Hz, mono, -3.01 LU


@pytest.mark.parametrize("gain", [0.01, 0.3, 1.0])
def test_speech_of_any_level_ends_at_the_target(gain: float) -> None:
    pcm = spoken("One two three four five.") * np.float32(gain)
    level = normalised(pcm, loudness(pcm), -23)
    assert loudness(level) == pytest.approx(-23, abs=0.05)


def test_peaks_stay_below_the_limit_at_the_price_of_loudness() -> None:
    pcm = sine(2, 0.05)
    pcm[1000] = 0.9
    level = normalised(pcm, loudness(pcm), -10)
    assert float(np.abs(level).max()) == pytest.approx(HIGHEST_PEAK, rel=1e-4)
    assert loudness(level) < -20


@pytest.mark.parametrize("seconds", [0.01, 0.2, 0.39])
def test_clips_shorter_than_a_block_are_measured_too(seconds: float) -> None:
    assert loudness(sine(seconds, 0.1)) == pytest.approx(loudness(sine(2, 0.1)), abs=1.0)


def test_silence_has_no_loudness_and_stays_silent() -> None:
    assert loudness(silence(0)) == loudness(silence(1)) == QUIETEST
    assert not normalised(silence(1), QUIETEST, -23).any()
