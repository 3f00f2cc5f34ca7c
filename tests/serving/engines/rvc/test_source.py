import math

import pytest
import torch

from serving.engines.rvc.layers import Linear
from serving.engines.rvc.source import Source, phases

RATE, HOP = 40_000, 400


@pytest.fixture
def source() -> Source:
    """Whose learned layer does nothing but a tanh."""
    return Source(Linear(torch.ones(1, 1), torch.zeros(1)), HOP, RATE)


def silence(frames: int) -> torch.Tensor:
    return torch.zeros(1, frames * HOP)


def test_ten_minutes_of_a_gliding_tone_keep_their_phase(source: Source) -> None:
    """Beside the sum of all samples' steps in float64, which float32 is not up to."""
    f0 = torch.linspace(200, 1000, 60_000)[None]
    steps = f0.double().repeat_interleave(HOP, 1) / RATE
    expected = (0.1 * (2 * math.pi * (steps.cumsum(1) % 1)).sin()).tanh()
    assert (source(f0, phases(f0), silence(60_000)) - expected).abs().max() < 1e-5
    narrow = (0.1 * (2 * math.pi * (steps.float().cumsum(1) % 1)).sin()).tanh()
    assert (narrow - expected).abs().max() > 1e-3


def test_a_tone_has_its_pitch_and_loudness(source: Source) -> None:
    f0 = torch.full((1, 100), 440.0)
    audio = source(f0, phases(f0), silence(100))[0]
    assert audio.abs().max() == pytest.approx(math.tanh(0.1), abs=1e-4)
    assert int(torch.fft.rfft(audio).abs().argmax()) == 440


def test_noise_is_louder_where_there_is_no_voice(source: Source) -> None:
    f0 = torch.tensor([[0.0] * 50 + [200.0] * 50])
    noise = torch.randn(1, 100 * HOP)
    unvoiced, voiced = source(f0, phases(f0), noise)[0].atanh().split(50 * HOP)
    torch.testing.assert_close(unvoiced, noise[0, : 50 * HOP] * 0.1 / 3, rtol=1e-4, atol=1e-6)
    tone = source(f0, phases(f0), silence(100))[0, 50 * HOP :].atanh()
    torch.testing.assert_close(voiced - tone, noise[0, 50 * HOP :] * 0.003, rtol=1e-3, atol=1e-6)


def test_a_part_goes_on_where_the_part_before_it_ended(source: Source) -> None:
    f0 = torch.rand(2, 300) * 800 * (torch.arange(300) % 40 > 9)
    whole = source(f0, phases(f0), silence(600).view(2, -1))
    part = source(f0[:, 120:140], phases(f0)[:, 120:140], silence(40).view(2, -1))
    assert torch.equal(part, whole[:, 120 * HOP : 140 * HOP])
