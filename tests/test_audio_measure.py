from __future__ import annotations

import io
import wave

import numpy as np
import pytest

from tests.audio_measure import decode_any, dominant_frequency, duration_of, is_silent, noise, peak, rms, tone


def wav(samples: np.ndarray[tuple[int], np.dtype[np.int16]], rate: int, channels: int = 1) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return out.getvalue()


def test_a_file_of_the_standard_library_is_decoded_sample_for_sample() -> None:
    samples = np.array([0, 1000, -1000, 32767, -32768], np.int16)

    pcm, rate = decode_any(wav(samples, 16000))

    assert rate == 16000
    assert np.array_equal(pcm, samples.astype(np.float32) / 32768)


def test_duration_counts_the_samples_of_one_channel() -> None:
    assert duration_of(wav(np.zeros(2 * 8000, np.int16), 8000, channels=2)) == 1.0


def test_level_and_frequency_of_a_tone_are_measured() -> None:
    pcm = tone(440, 1.0, 24000, amplitude=0.5)

    assert rms(pcm) == pytest.approx(0.5 / 2**0.5, rel=1e-3)
    assert peak(pcm) == pytest.approx(0.5, rel=1e-3)
    assert dominant_frequency(pcm, 24000) == pytest.approx(440, abs=0.1)


def test_silence_is_told_from_sound() -> None:
    assert is_silent(np.zeros(100, np.float32))
    assert is_silent(np.zeros(0, np.float32))
    assert not is_silent(noise(0.1, 8000))
