"""Noise is taken out, and speech stays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.audio.denoise import denoise
from serving.audio.pcm import Audio, Pcm
from serving.audio.quality import measure
from serving.audio.resample import resample
from tests.spoken import RATE, noisy, spoken


def distance_db(clean: Pcm, found: Pcm) -> float:
    """Scale-invariant signal-to-distortion ratio of ``found`` (Le Roux et al., "SDR - half-baked or well done?")."""
    clean, found = clean.astype(np.float64), found.astype(np.float64)
    target = np.dot(clean, found) / np.dot(clean, clean) * clean
    return float(10 * np.log10(np.dot(target, target) / np.dot(target - found, target - found)))


@pytest.mark.parametrize("snr", [0, 5])
def test_noise_falls_by_far_more_than_the_speech_changes(snr: float) -> None:
    speech = spoken()
    bad = noisy(speech, snr)
    good = denoise(bad, RATE)
    assert distance_db(speech, good) >= distance_db(speech, bad) + 6
    assert measure(Audio(good, RATE)).snr_db >= measure(Audio(bad, RATE)).snr_db + 20


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_the_result_is_as_long_as_the_recording_and_in_its_place(rate: int) -> None:
    speech = resample(spoken(), RATE, rate)
    found = denoise(speech, rate)
    assert found.shape == speech.shape
    assert found.dtype == np.float32
    assert distance_db(speech, found) > 10  # one sample late in ten would already be less


def test_recordings_at_once_are_what_they_are_alone() -> None:
    bad = noisy(spoken(), 10)[: 2 * RATE]
    alone = denoise(bad, RATE)
    with ThreadPoolExecutor(3) as threads:
        for found in threads.map(lambda _: denoise(bad, RATE), range(3)):
            assert np.array_equal(found, alone)


def test_silence_and_nothing_stay_what_they_are() -> None:
    assert np.abs(denoise(np.zeros(RATE, np.float32), RATE)).max() < 1e-3
    assert len(denoise(np.zeros(0, np.float32), RATE)) == 0
