"""The loudness of what was said, on what was converted."""

from __future__ import annotations

import numpy as np
import pytest

from serving.audio.pcm import Pcm
from serving.engines.rvc.loudness import LoudnessMix

INPUT, OUTPUT = 16000, 40000


def signals(seconds: float = 6.3) -> tuple[Pcm, Pcm]:
    """Speech that swells, and a conversion of even loudness."""
    chance = np.random.default_rng(0)
    said = chance.normal(0, 0.1, int(seconds * INPUT)) * np.linspace(0.1, 2, int(seconds * INPUT))
    return said.astype(np.float32), chance.normal(0, 0.2, int(seconds * OUTPUT)).astype(np.float32)


def mixed(rate: float, said: Pcm, converted: Pcm, piece_s: float = 100.0) -> Pcm:
    mix = LoudnessMix(rate, INPUT, OUTPUT)
    count = int(len(said) / INPUT / piece_s) + 1
    pieces = [
        mix.push(
            said[int(i * piece_s * INPUT) : int((i + 1) * piece_s * INPUT)],
            converted[int(i * piece_s * OUTPUT) : int((i + 1) * piece_s * OUTPUT)],
        )
        for i in range(count)
    ]
    return np.concatenate([*pieces, mix.finish()])


def loudness(pcm: Pcm, rate: int, second: int) -> float:
    return float(np.sqrt(np.mean(pcm[second * rate : (second + 1) * rate] ** 2)))


def test_with_one_nothing_is_changed_or_held_back() -> None:
    said, converted = signals()
    mix = LoudnessMix(1.0, INPUT, OUTPUT)
    assert mix.push(said, converted) is converted
    assert len(mix.finish()) == 0


def test_with_zero_the_output_is_as_loud_as_what_was_said() -> None:
    said, converted = signals()
    result = mixed(0.0, said, converted)
    assert len(result) == len(converted)
    for second in range(1, 5):
        assert loudness(result, OUTPUT, second) == pytest.approx(loudness(said, INPUT, second), rel=0.15)
        assert loudness(converted, OUTPUT, second) == pytest.approx(0.2, rel=0.05)


def test_between_them_it_is_the_weighted_geometric_mean() -> None:
    said, converted = signals()
    full, half = mixed(0.0, said, converted), mixed(0.5, said, converted)
    gain = full[40000:-40000] / converted[40000:-40000]
    assert np.allclose(half[40000:-40000], converted[40000:-40000] * np.sqrt(gain), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("piece_s", [0.1, 0.73, 2.0])
def test_a_stream_is_mixed_as_the_whole(piece_s: float) -> None:
    said, converted = signals()
    assert np.allclose(mixed(0.25, said, converted, piece_s), mixed(0.25, said, converted), atol=1e-7)


def test_silence_stays_silence() -> None:
    said, converted = signals(2.0)
    assert not mixed(0.0, np.zeros_like(said), converted).any()
    assert np.isfinite(mixed(0.0, said, np.zeros_like(converted))).all()
