"""Long one-dimensional convolutions with half the multiplications, for a CPU that already multiplies as fast as it can.

Winograd's minimal filtering F(4, 4) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016), by the
points 0, 1, -1, 2, -2, 1/2 and infinity: seven products where four outputs of four taps take sixteen. A kernel is cut
into fours; their sum is again a convolution, over blocks of four outputs, so oneDNN's own convolution does each of the
seven at its full speed: 1.9 to 2.1 times as few multiplications for 7 and 11 taps. The rest is additions of whole rows.

In float32 the result differs from the exact one by 6e-7 of its size (root mean square), the plain one's by 2e-7.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import torch
from torch.nn import functional

from serving.engines.linear import PackedConvolution

BLOCK = 4
"""Outputs that are computed together, and taps of a part of the kernel."""

POINTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(2), Fraction(-2), Fraction(1, 2))
"""And infinity. ``_evaluated`` and ``_interpolate`` are written for these."""

LEAST_TAPS, LEAST_WORK = 7, 640
"""Taps, and taps times channels. Below, the additions cost what is saved: measured on one core with AVX-512."""

AT_A_TIME = 2**20
"""Values of a signal whose blocks are worked on together, so that what is made of them stays in the CPU's cache."""


class Winograd:
    """A convolution with ``weight`` [out, in, taps], odd, and ``bias`` [out] that keeps the length. Keeps no state."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dilation: int) -> None:
        taps = weight.shape[2]
        assert taps % 2
        self._padding, self._dilation = dilation * (taps // 2), dilation
        self._parts = math.ceil(taps / BLOCK)
        parts = functional.pad(weight.double(), (0, self._parts * BLOCK - taps)).unflatten(2, (self._parts, BLOCK))
        biases = [None if bias is None or point != 1 else bias.clone() for point in (*POINTS, None)]
        like = (1, weight.shape[1], 1, AT_A_TIME // BLOCK // weight.shape[1])
        self._convolutions = [
            PackedConvolution((parts @ row)[:, :, None].to(weight.dtype), own, like, dilation=(1, dilation))
            for row, own in zip(_kernel_transform(), biases, strict=True)  # at point 1 each output has one bias
        ]

    @staticmethod
    def pays(weight: torch.Tensor) -> bool:
        """Whether it is faster than a plain convolution with ``weight`` [out, in, taps] on its device."""
        out, channels, taps = weight.shape
        if weight.device.type != "cpu" or weight.dtype != torch.float32:
            return False
        return bool(taps >= LEAST_TAPS and taps * min(out, channels) >= LEAST_WORK)

    @property
    def padding(self) -> int:
        return int(self._padding)

    @property
    def nbytes(self) -> int:
        return sum(convolution.nbytes for convolution in self._convolutions)

    def activated(self, x: torch.Tensor, slope: float, *, overwrite: bool = False) -> torch.Tensor:
        """See ``Convolution.activated``; ``x`` [B, in, 1, length] is never overwritten."""
        batch, channels, _, length = x.shape
        step = BLOCK * self._dilation
        count = math.ceil(length / step)
        signal = x.new_empty(batch, (count + self._parts) * step, channels)
        end = self._padding + length
        signal[:, : self._padding].zero_()
        signal[:, end:].zero_()
        torch.ops.aten.leaky_relu.out(x[:, :, 0].mT, slope, out=signal[:, self._padding : end])
        made = x.new_empty(batch, count, BLOCK, self._dilation * self._convolutions[0].out)
        at_a_time = max(1, AT_A_TIME // (batch * step * channels))
        for first in range(0, count, at_a_time):
            last = min(first + at_a_time, count)
            self._filter(signal[:, first * step : (last + self._parts) * step], made[:, first:last])
        return made.view(batch, count * step, -1)[:, :length].mT[:, :, None]

    def _filter(self, signal: torch.Tensor, made: torch.Tensor) -> None:
        """Blocks ``made`` [B, blocks, 4, dilation * out] of ``signal`` [B, inputs, in], which has a block for each part
        of the kernel behind them.
        """
        channels = signal.shape[2]
        values = signal.reshape(len(signal), -1, BLOCK, self._dilation * channels)
        products = []
        for value, convolution in zip(_evaluated(values), self._convolutions, strict=True):
            product = convolution(value.view(len(value), -1, channels).mT[:, :, None])
            products.append(product[:, :, 0].mT.reshape(len(made), made.shape[1], -1))
        _interpolate(products, made)


def _evaluated(signal: torch.Tensor) -> Iterator[torch.Tensor]:
    """Each block of ``signal`` [B, blocks, 4, values] with the three inputs behind it, at the seven points.

    With M(z) the product of all z - point, that is M(z) / (z - point) with the inputs for powers of z. Each is [B,
    blocks - 1, values]: the last block has nothing behind it.
    """
    flat = signal.flatten(1, 2)
    reduced = torch.empty_like(flat)  # by z - 1/2; its last input is no block's
    torch.sub(flat[:, 1:], flat[:, :-1], alpha=0.5, out=reduced[:, :-1])
    s, r = _shifted(signal), _shifted(reduced.view_as(signal))
    even, odd = torch.sub(r[4], r[2], alpha=4), torch.sub(r[3], r[1], alpha=4)
    yield torch.sub(even, r[2]).add_(r[0], alpha=4)
    yield even + odd
    yield even.sub_(odd)
    even, odd = r[4] - r[2], r[3] - r[1]
    yield torch.add(even, odd, alpha=2)
    yield even.sub_(odd, alpha=2)
    yield torch.sub(s[5], s[3], alpha=5).add_(s[1], alpha=4)
    yield torch.sub(r[5], r[3]).sub_(odd, alpha=4)


def _shifted(inputs: torch.Tensor) -> list[torch.Tensor]:
    """Inputs 0, 1, ... 5 from the start of every block but the last."""
    blocks = inputs.shape[1] - 1
    return [inputs[:, at // BLOCK : at // BLOCK + blocks, at % BLOCK] for at in range(BLOCK + 2)]


def _interpolate(products: list[torch.Tensor], made: torch.Tensor) -> None:
    """``made`` [B, blocks, 4, values] of the seven ``products`` [B, blocks, values], which are overwritten.

    Output i is the sum of each product times its point to the power i; infinity goes into the last alone.
    """
    zero, one, minus_one, two, minus_two, half, infinity = products
    even_2, odd_2 = two + minus_two, two.sub_(minus_two)
    even_1, odd_1 = one + minus_one, one.sub_(minus_one)
    outputs = made.unbind(2)
    torch.add(zero.add_(half), even_1, out=outputs[0]).add_(even_2)
    torch.add(odd_1, odd_2, alpha=2, out=outputs[1]).add_(half, alpha=1 / 2)
    torch.add(even_1, even_2, alpha=4, out=outputs[2]).add_(half, alpha=1 / 4)
    torch.add(odd_1.add_(infinity), odd_2, alpha=8, out=outputs[3]).add_(half, alpha=1 / 8)


def _kernel_transform() -> torch.Tensor:
    """float64 [7, 4]: four taps at each point, divided by the product of its distances to the others."""
    rows = [
        [point**power / math.prod(point - other for other in POINTS if other != point) for power in range(BLOCK)]
        for point in POINTS
    ]
    rows.append([Fraction(power == BLOCK - 1) for power in range(BLOCK)])
    return torch.tensor([[float(value) for value in row] for row in rows], dtype=torch.float64)
