from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.audio.pcm import Pcm
from serving.audio.tempo import Tempo
from tests.audio_measure import dominant_frequency, noise, rms, tone


def stretched(pcm: Pcm, factor: float, chunk: int, rate: int = 24000) -> Pcm:
    tempo = Tempo(factor, rate)
    pieces = [tempo.push(pcm[start : start + chunk]) for start in range(0, len(pcm), chunk)]
    return np.concatenate([*pieces, tempo.flush()])


@pytest.mark.parametrize("factor", [0.25, 0.4, 0.5, 0.7, 0.9, 1.0, 1.25, 2.0, 2.5, 3.0, 4.0])
def test_speech_gets_shorter_by_the_factor_and_keeps_pitch_and_level(factor: float) -> None:
    result = stretched(tone(220, 6.0, 24000), factor, chunk=4800)

    assert len(result) / 24000 == pytest.approx(6.0 / factor, rel=0.005)
    assert dominant_frequency(result, 24000) == pytest.approx(220, rel=0.01)
    assert rms(result) == pytest.approx(0.3 / 2**0.5, rel=0.05)


@settings(max_examples=25)
@given(st.floats(0.25, 4.0), st.integers(100, 30000))
def test_any_chunks_give_the_same_audio(factor: float, chunk: int) -> None:
    pcm = noise(1.0, 24000)

    assert np.array_equal(stretched(pcm, factor, chunk), stretched(pcm, factor, len(pcm)))


@pytest.mark.parametrize("factor", [0.25, 0.5, 0.8, 1.6, 4.0])
def test_the_end_of_the_audio_is_not_cut_off(factor: float) -> None:
    pcm = np.concatenate([np.zeros(24000, np.float32), tone(880, 0.1, 24000)])

    result = stretched(pcm, factor, 4800)

    assert len(result) / 24000 == pytest.approx(1.1 / factor, rel=0.02)
    assert rms(result[-int(0.05 * 24000 / factor) :]) > 0.1


def test_factor_one_changes_no_sample() -> None:
    pcm = noise(0.5, 22050)

    assert np.array_equal(stretched(pcm, 1.0, 1000, 22050), pcm)


@pytest.mark.parametrize("factor", [0.25, 0.8, 1.5, 4.0])
def test_audio_leaves_before_all_of_it_is_in(factor: float) -> None:
    tempo = Tempo(factor, 24000)

    ready = sum(len(tempo.push(chunk)) for chunk in np.split(noise(2.0, 24000), 20))

    assert ready / 24000 > 2.0 / factor - 0.2 / factor - 0.2


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_no_audio_gives_no_audio(factor: float) -> None:
    assert len(stretched(np.zeros(0, np.float32), factor, 100)) == 0


@pytest.mark.parametrize("factor", [0.0, 0.2, 4.1, -1.0])
def test_factors_out_of_range_are_a_mistake_of_the_caller(factor: float) -> None:
    with pytest.raises(AssertionError):
        Tempo(factor, 24000)
