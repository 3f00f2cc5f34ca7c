"""Convolutions in segments, by Fourier transforms or Winograd's F(4, 3), against exact ones in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from serving.engines import fast_convolution
from serving.engines.fast_convolution import AT_A_TIME, FastConvolution
from serving.engines.hifigan import Convolution

SLOPE = 0.1


def random(*sizes: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


def layer(channels: int, out: int, taps: int) -> tuple[torch.Tensor, torch.Tensor]:
    return random(out, channels, taps, seed=1) / (channels * taps) ** 0.5, random(out, seed=2)


def image(*sizes: int) -> torch.Tensor:
    """[B, channels, 1, length], channels last."""
    return random(*sizes)[:, :, None].contiguous(memory_format=torch.channels_last)


def exact(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, dilation: int) -> torch.Tensor:
    active = functional.leaky_relu(x[:, :, 0].double(), SLOPE)
    bias = None if bias is None else bias.double()
    padding = dilation * (weight.shape[2] // 2)
    return functional.conv1d(active, weight.double(), bias, padding=padding, dilation=dilation)[:, :, None]


def error(made: torch.Tensor, expected: torch.Tensor) -> float:
    assert made.shape == expected.shape
    return float((made - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("taps", [1, 3, 5, 7, 11, 13])
@pytest.mark.parametrize("dilation", [1, 3, 5])
def test_it_is_the_convolution_for_any_kernel(taps: int, dilation: int) -> None:
    weight, bias = layer(24, 40, taps)
    x = image(1, 24, 301)
    made = FastConvolution(weight, bias, dilation).activated(x, SLOPE)
    assert error(made, exact(x, weight, bias, dilation)) < 1e-6
    assert error(made, exact(x, weight, bias + 1e-3, dilation)) > 1e-4


@pytest.mark.parametrize("taps", [3, 11])
@pytest.mark.parametrize("length", [1, 2, 19, 20, 21, 109, 110, 111, 219, 220, 221])  # 4 or 22 outputs, of 5 signals
def test_any_length_will_do(length: int, taps: int) -> None:
    weight, bias = layer(16, 16, taps)
    x = image(1, 16, length)
    assert error(FastConvolution(weight, bias, 5).activated(x, SLOPE), exact(x, weight, bias, 5)) < 1e-6


@pytest.mark.parametrize("taps", [3, 7])
def test_items_of_a_batch_do_not_meet_and_a_long_signal_is_worked_on_in_pieces(taps: int) -> None:
    weight, bias = layer(64, 64, taps)
    x = image(3, 64, 3 * AT_A_TIME // 64 + 1001)
    layers = FastConvolution(weight, bias, 3)
    made = layers.activated(x, SLOPE)
    assert error(made, exact(x, weight, bias, 3)) < 1e-6
    alone = layers.activated(x[1:2], SLOPE)
    assert error(made[1:2], alone) < 1e-6


@pytest.mark.parametrize("taps", [3, 7])
def test_the_input_stays_as_it_is_and_a_bias_may_be_missing(taps: int) -> None:
    weight, _ = layer(16, 16, taps)
    x = image(1, 16, 100)
    before = x.clone()
    made = FastConvolution(weight, None, 1).activated(x, SLOPE, overwrite=True)
    assert torch.equal(x, before)
    assert error(made, exact(x, weight, None, 1)) < 1e-6


@pytest.mark.parametrize("dilation", [1, 3])
def test_what_is_to_be_added_is_added_in_every_piece(dilation: int) -> None:
    weight, bias = layer(64, 64, 11)
    x, more = image(2, 64, 3 * AT_A_TIME // 64 + 1001), image(2, 64, 3 * AT_A_TIME // 64 + 1001).flip(-1)
    before = more.clone()
    made = FastConvolution(weight, bias, dilation).activated(x, SLOPE, add=more)
    assert error(made, exact(x, weight, bias, dilation) + more) < 1e-6
    assert torch.equal(more, before)


@pytest.mark.parametrize("taps", [3, 7, 11])
def test_it_is_about_as_exact_as_a_plain_convolution(taps: int) -> None:
    weight, bias = layer(256, 256, taps)
    x = image(1, 256, 400)
    expected = exact(x, weight, bias, 1)
    plain = Convolution.plain(weight, bias, taps // 2).activated(x, SLOPE)
    made = FastConvolution(weight, bias, 1).activated(x, SLOPE)

    def rms(result: torch.Tensor) -> float:
        return float((result - expected).square().mean().sqrt() / expected.square().mean().sqrt())

    assert rms(plain) < 1e-6
    assert rms(made) < 4.2e-7  # 4.9e-7 for 3 taps with Winograd's usual points


def test_it_keeps_its_own_weights_and_knows_their_size() -> None:
    weight, bias = layer(64, 64, 11)
    layers = FastConvolution(weight, bias, 1)
    assert layers.nbytes == 4 * (47 * 64 * 64 + 64)  # a segment of 32 has two real frequencies and fifteen complex ones
    assert FastConvolution(*layer(64, 48, 3), 1).nbytes == 4 * (6 * 64 * 48 + 48)
    before = layers.activated(image(1, 64, 30), SLOPE)
    weight.zero_()
    bias.zero_()
    assert torch.equal(layers.activated(image(1, 64, 30), SLOPE), before)


@pytest.mark.parametrize(
    ("shape", "pays"),
    [
        ((128, 128, 7), True),
        ((32, 32, 11), True),
        ((128, 128, 3), True),
        ((256, 127, 3), False),
        ((512, 512, 5), False),
        ((512, 512, 1), False),
        ((32, 32, 7), False),
        ((8, 64, 11), False),
    ],
)
def test_wide_layers_are_worth_it_on_a_cpu(
    shape: tuple[int, int, int], pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_convolution, "mkl_knows_this_processor", lambda: True)
    assert FastConvolution.pays(torch.zeros(shape)) is pays
    assert not FastConvolution.pays(torch.zeros(shape, dtype=torch.float16))
    assert not FastConvolution.pays(torch.zeros(shape, device="meta"))


@pytest.mark.parametrize(
    ("capability", "mkl", "pays"), [("AVX512", False, False), ("AVX2", False, True), ("AVX512", True, True)]
)
def test_narrow_layers_are_not_where_only_plain_convolutions_have_avx512(
    capability: str, mkl: bool, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(fast_convolution, "mkl_knows_this_processor", lambda: mkl)
    assert FastConvolution.pays(torch.zeros(32, 32, 11)) is pays
    assert FastConvolution.pays(torch.zeros(64, 64, 7)) is pays
    assert FastConvolution.pays(torch.zeros(64, 64, 11))


@pytest.mark.parametrize("count", [1, 95, 96, 97, 160, 1000])
def test_a_signal_is_cut_into_equal_pieces_of_about_the_size_asked_for(count: int) -> None:
    pieces = fast_convolution._pieces(count, 64)
    assert [first for first, _ in pieces] == [0, *(last for _, last in pieces[:-1])]
    assert pieces[-1][1] == count
    sizes = [last - first for first, last in pieces]
    assert max(sizes) <= 96
    assert max(sizes) - min(sizes) <= 1
