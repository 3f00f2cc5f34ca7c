from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.audio.resample import StreamResampler, resample
from tests.audio_measure import dominant_frequency, noise, rms, tone

RATES = st.sampled_from([8000, 16000, 22050, 24000, 32000, 40000, 44100, 48000])


@settings(max_examples=60)
@given(RATES, RATES, st.lists(st.integers(0, 4000), max_size=12))
def test_a_stream_in_any_chunks_equals_the_offline_result(from_rate: int, to_rate: int, sizes: list[int]) -> None:
    pcm = noise(0.4, from_rate)
    stream = StreamResampler(from_rate, to_rate)

    streamed = [stream.push(chunk) for chunk in np.split(pcm, np.cumsum(sizes))] + [stream.flush()]

    offline = pcm if from_rate == to_rate else soxr.resample(pcm, from_rate, to_rate, "HQ")
    assert np.array_equal(np.concatenate(streamed), offline)
    assert np.array_equal(resample(pcm, from_rate, to_rate), offline)


@pytest.mark.parametrize(("from_rate", "to_rate"), [(22050, 24000), (48000, 24000), (24000, 48000), (40000, 24000)])
def test_a_tone_keeps_its_pitch_level_and_length(from_rate: int, to_rate: int) -> None:
    resampled = resample(tone(1000, 1.0, from_rate), from_rate, to_rate)

    assert len(resampled) == to_rate
    assert resampled.dtype == np.float32
    assert dominant_frequency(resampled, to_rate) == pytest.approx(1000, abs=0.5)
    assert rms(resampled) == pytest.approx(0.3 / 2**0.5, rel=0.01)


def test_what_cannot_exist_at_the_lower_rate_is_filtered_out() -> None:
    assert rms(resample(tone(15000, 1.0, 48000), 48000, 24000)) < 0.002


@pytest.mark.parametrize("from_rate", [16000, 22050, 32000, 40000, 44100, 48000])
def test_a_stream_holds_back_less_than_fifty_milliseconds(from_rate: int) -> None:
    stream, step, ready, longest = StreamResampler(from_rate, 24000), from_rate // 100, 0, 0.0

    for pushed in range(step, from_rate + 1, step):
        ready += len(stream.push(np.zeros(step, np.float32)))
        longest = max(longest, pushed / from_rate - ready / 24000)

    assert longest < 0.05


def test_no_audio_gives_no_audio() -> None:
    assert len(resample(np.zeros(0, np.float32), 22050, 24000)) == 0
