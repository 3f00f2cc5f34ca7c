import pytest
import torch

from serving.engines.rvc.pitch.salience import BINS, cents, decode, frequency_about

CPU = torch.device("cpu")


def bump(centre: float, width: float = 1.25) -> torch.Tensor:
    """Salience [360] about a position between bins, as the networks are trained to give."""
    return torch.exp(-((torch.arange(BINS) - centre) ** 2) / (2 * width**2))


def hertz(position: float) -> float:
    return float(10 * 2 ** ((1997.3794084376191 + 20 * position) / 1200))


@pytest.mark.parametrize("position", [20.0, 100.3, 179.5, 300.8, 339.0])
def test_a_pitch_between_two_bins_is_found_within_a_cent(position: float) -> None:
    assert float(decode(bump(position), 0.03)) == pytest.approx(hertz(position), rel=2 ** (1 / 1200) - 1)


def test_bin_0_is_31_7_hz_and_the_last_2006() -> None:
    assert 10 * 2 ** (float(cents(CPU)[0]) / 1200) == pytest.approx(31.70, abs=0.01)
    assert 10 * 2 ** (float(cents(CPU)[359]) / 1200) == pytest.approx(2005.5, abs=0.1)


def test_only_the_neighbourhood_of_the_strongest_bin_counts() -> None:
    assert torch.equal(decode(bump(100) + 0.9 * bump(200), 0.03), decode(bump(100), 0.03))


@pytest.mark.parametrize(("peak", "voiced"), [(0.0300001, True), (0.03, False), (0.0, False)])
def test_a_frame_is_voiced_above_the_threshold(peak: float, voiced: bool) -> None:
    salience = torch.zeros(BINS)
    salience[150] = peak
    assert (float(decode(salience, 0.03)) > 0) == voiced


@pytest.mark.parametrize("edge", [0, 2, 357, 359])
def test_the_window_is_narrower_at_the_ends_of_the_scale(edge: int) -> None:
    salience = bump(edge)
    near = [n for n in range(edge - 4, edge + 5) if 0 <= n < BINS]
    mean = sum(float(salience[n]) * (1997.3794084376191 + 20 * n) for n in near) / sum(float(salience[n]) for n in near)
    assert float(decode(salience, 0.03)) == pytest.approx(10 * 2 ** (mean / 1200), rel=1e-5)


def test_nothing_is_no_pitch_and_no_nan() -> None:
    assert frequency_about(torch.zeros(2, 3, BINS), torch.full((2, 3), 5)).tolist() == [[0.0] * 3] * 2
