import math

import numpy as np
import pytest
import torch
from scipy.signal import medfilt

from serving.engines.rvc.pitch.shaping import autotune, coarse, proposed_semitones, smooth, transpose


def pitch(*hertz: float) -> torch.Tensor:
    return torch.tensor(hertz)


def test_an_octave_is_twelve_semitones_and_unvoiced_stays_unvoiced() -> None:
    assert transpose(pitch(0, 110, 220.5), 12).tolist() == [0, 220, 441]
    assert transpose(pitch(0, 110), -12).tolist() == [0, 55]
    assert float(transpose(pitch(440), 3)) == pytest.approx(523.2511)


def test_zero_means_zero() -> None:
    f0 = pitch(0, 110.123, 440)[None]
    assert transpose(f0, 0) is f0
    assert autotune(f0, 0.0) is f0
    assert smooth(f0, 0) is f0


def plain_coarse(hertz: float) -> int:
    """RVC's ``pipeline.py``, one number at a time."""
    low, high = (1127 * math.log(1 + f / 700) for f in (50, 1100))
    mel = 1127 * math.log(1 + hertz / 700)
    if mel > 0:
        mel = (mel - low) * 254 / (high - low) + 1
    return int(np.rint(min(max(mel, 1), 255)))


def test_coarse_bins_follow_the_formula() -> None:
    hertz = [0.0, 1e-3, 49.9, 50, 50.1, 1099, 1100, 1101, 5000, *np.geomspace(40, 1200, 3000).tolist()]
    f0 = torch.tensor(hertz)
    assert coarse(f0).tolist() == [plain_coarse(value) for value in f0.tolist()]
    assert coarse(pitch(0, 50, 1100, 9000)).tolist() == [1, 1, 255, 255]
    assert set(coarse(torch.linspace(50, 1100, 5000)).tolist()) == set(range(1, 256))
    assert coarse(f0).dtype == torch.int64


@pytest.mark.parametrize(("radius", "window"), [(3, 3), (4, 3), (5, 5), (6, 5), (7, 7)])
def test_the_median_is_that_of_scipy(radius: int, window: int) -> None:
    f0 = 100 + 50 * torch.randn(2, 50, generator=torch.Generator().manual_seed(0)).abs()
    f0[:, 20:24] = 0
    expected = np.stack([medfilt(row, window) for row in f0.numpy()])
    assert np.array_equal(smooth(f0, radius).numpy(), expected)


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_below_three_nothing_is_filtered(radius: int) -> None:
    f0 = pitch(100, 900, 100, 0, 100)[None]
    assert smooth(f0, radius) is f0
    assert smooth(f0, 3).tolist() == [[100, 100, 100, 100, 0]]


def test_autotune_goes_to_the_nearest_note_by_its_strength() -> None:
    f0 = pitch(0, 438, 450, 455, 20, 2000)
    note = [440 * 2 ** (n / 12) for n in (0, 0, 1, -38, 15)]
    assert autotune(f0, 1.0)[0] == 0
    assert autotune(f0, 1.0)[1:].tolist() == pytest.approx(note, rel=1e-6)
    assert float(autotune(f0, 0.5)[1]) == pytest.approx(439)


def test_the_proposal_brings_the_median_to_the_target_within_an_octave() -> None:
    f0 = torch.tensor([[0, 110, 110, 900.0], [220, 220, 0, 220], [0, 0, 0, 0], [30, 30, 30, 30]])
    assert proposed_semitones(f0, 155).tolist() == [6, -6, 0, 12]
