"""One-dimensional convolutions with a fifth to half of the multiplications, for a CPU.

The signal is cut into overlapping segments. Both it and the kernel are transformed, so that what is left between
channels are a few products per segment, and these are transformed back (overlap-save):

- Kernels of 3 taps by Winograd's F(4, 3): segments of 6 samples take 6 products for 4 outputs, which directly take 12.
- Others by discrete Fourier transforms in real numbers: a complex product is three real ones (Gauss). A segment of
  32 samples and a kernel of 11 taps take 47 products for 22 outputs, which directly take 242. Even and odd frequencies
  go separately, each with half a segment (radix 2).

Segments are short, so that a product with a constant matrix is the fastest transform, and the error is a about
a plain convolution's: in float32 2e-7 to 4e-7 of the result (root mean square).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional

from serving.engines.linear import BatchedLinear, mkl_knows_this_processor

LEAST_TAPS, LEAST_WORK, LEAST_CHANNELS = 7, 352, 128
"""Taps, and taps times channels; channels for 3 taps. Below, the transforms cost what is saved: measured on one core of
a Xeon, also with AVX2 alone, but 3 taps only on one of an EPYC.
"""

LEAST_WORK_PLAIN_IS_FAST = 512
"""Instead, where plain convolutions use AVX-512 and the transforms, which are MKL's, do not: on an EPYC."""

POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
"""Of Winograd's filtering. The largest error is a plain convolution's; with the usual 1 and 2 it is twice that."""

AT_A_TIME = 2**19
"""About how many values of a signal are worked on together, so that what is made of them stays in the CPU's cache."""


class FastConvolution:
    """A convolution with ``weight`` [out, in, taps], odd, and ``bias`` [out] that keeps the length. Keeps no state."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dilation: int) -> None:
        out, channels, taps = weight.shape
        assert taps % 2
        self._out, self._dilation, self._half = out, dilation, taps // 2
        self._size = len(POINTS) + 1 if taps == 3 else segment(taps)
        self._outputs = self._size - taps + 1
        self._at_a_time = max(1, AT_A_TIME // (self._size * dilation * channels))
        rows = self._at_a_time * dilation
        self._parts: tuple[_Part, ...]
        self._bias: torch.Tensor | None = None
        if taps == 3:
            self._parts = (_Part(_winograd(), weight, None, rows),)
            self._bias = None if bias is None else bias.clone()
        else:
            even, odd = _fourier(self._size, taps)
            constant = None if bias is None else bias * self._size
            self._parts = _Part(even, weight, constant, rows), _Part(odd, weight, None, rows)

    @staticmethod
    def pays(weight: torch.Tensor) -> bool:
        """Whether it is faster than a plain convolution with ``weight`` [out, in, taps] on its device."""
        out, channels, taps = weight.shape
        if weight.device.type != "cpu" or weight.dtype != torch.float32:
            return False
        least = min(out, channels)
        return bool((taps >= LEAST_TAPS and taps * least >= _least_work()) or (taps == 3 and least >= LEAST_CHANNELS))

    @property
    def padding(self) -> int:
        return int(self._dilation * self._half)

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self._parts) + _nbytes(self._bias)

    def activated(
        self, x: torch.Tensor, slope: float, *, add: torch.Tensor | None = None, overwrite: bool = False
    ) -> torch.Tensor:
        """See ``Convolution.activated``; ``x`` [B, in, 1, length] is never overwritten."""
        batch, _, _, length = x.shape
        step = self._outputs * self._dilation
        count = math.ceil(length / step)
        made = x.new_empty(batch, count * step, self._out)
        for item in range(batch):
            for first, last in _pieces(count, self._at_a_time):
                begin, some = first * step, made[item, first * step : last * step]
                self._convolve(self._inputs(x[item, :, 0].T, slope, begin, len(some)), some)
                if add is not None:  # here, where they are in the cache
                    end = min(last * step, length)
                    made[item, begin:end] += add[item, :, 0, begin:end].T
        return made[:, :length].mT[:, :, None]

    def _inputs(self, signal: torch.Tensor, slope: float, begin: int, count: int) -> torch.Tensor:
        """What ``count`` outputs from ``begin`` on need of the leaky ReLU of ``signal`` [length, in]."""
        start = begin - self.padding
        inputs = signal.new_empty(count + 2 * self.padding, signal.shape[1])
        first, last = max(start, 0), min(start + len(inputs), len(signal))
        inputs[: first - start].zero_()
        inputs[last - start :].zero_()
        torch.ops.aten.leaky_relu.out(signal[first:last], slope, out=inputs[first - start : last - start])
        return inputs

    def _convolve(self, inputs: torch.Tensor, made: torch.Tensor) -> None:
        """``inputs`` [samples, in] to ``made`` [outputs, out]; with a dilation every so many samples by themselves."""
        segments = inputs.unflatten(0, (-1, self._dilation)).unfold(0, self._size, self._outputs).permute(1, 0, 3, 2)
        into = made.view(-1, self._outputs, self._dilation, self._out).permute(2, 0, 1, 3)
        if len(self._parts) == 2:
            self._by_frequencies(segments, into)
            return
        result = self._parts[0](segments.flatten(0, 1)).view(into.shape)
        if self._bias is None:
            into.copy_(result)
        else:
            torch.add(result, self._bias, out=into)

    def _by_frequencies(self, segments: torch.Tensor, into: torch.Tensor) -> None:
        """``segments`` [dilation, count, samples, in] to ``into`` [dilation, count, outputs, out]."""
        half = self._size // 2
        first, second = segments.split(half, 2)
        even, odd = self._parts
        total, difference = first.new_empty(first.shape), first.new_empty(first.shape)  # contiguous, as + would not be
        same = even(torch.add(first, second, out=total).flatten(0, 1))
        opposite = odd(torch.sub(first, second, out=difference).flatten(0, 1))
        same, opposite = (result.view(*into.shape[:2], half, self._out) for result in (same, opposite))
        rest = self._outputs - half
        torch.add(same, opposite, out=into[:, :, :half])
        torch.sub(same[:, :, :rest], opposite[:, :, :rest], out=into[:, :, half:])


class _Transforms(NamedTuple):
    """Float64 matrices: ``result @ ((signal @ x) * (kernel @ w))`` is the correlation of x and w.

    ``signal`` [products, inputs], ``kernel`` [products, taps] and ``result`` [outputs, products].
    """

    signal: torch.Tensor
    kernel: torch.Tensor
    result: torch.Tensor


class _Part:
    """Transforms, with a kernel's products between them; ``bias`` [out] is added to the first product."""

    def __init__(self, transforms: _Transforms, weight: torch.Tensor, bias: torch.Tensor | None, rows: int) -> None:
        signal, kernel, result = (matrix.to(weight.dtype) for matrix in transforms)
        self._signal, self._result, self._bias = signal, result, bias
        self._products = BatchedLinear(torch.tensordot(kernel, weight, ([1], [2])).mT, rows)

    @property
    def nbytes(self) -> int:
        return self._products.nbytes + _nbytes(self._bias)

    def __call__(self, segments: torch.Tensor) -> torch.Tensor:
        """[segments, inputs, in] to [segments, outputs, out]."""
        products = self._products(torch.bmm(self._signal.expand(len(segments), -1, -1), segments))
        if self._bias is not None:
            products[:, 0] += self._bias
        return torch.bmm(self._result.expand(len(segments), -1, -1), products)


def _least_work() -> int:
    plain_is_fast = torch.backends.cpu.get_cpu_capability() == "AVX512" and not mkl_knows_this_processor()
    return LEAST_WORK_PLAIN_IS_FAST if plain_is_fast else LEAST_WORK


def segment(taps: int) -> int:
    """Samples of a segment: about three times as many as taps, where transforms and products together cost least."""
    return 8 * math.ceil(2.8 * taps / 8)


def _pieces(count: int, most: int) -> list[tuple[int, int]]:
    """``count`` in equal pieces of about ``most``: a small rest would read all weights for a few rows."""
    pieces = max(1, round(count / most))
    return list(itertools.pairwise(count * piece // pieces for piece in range(pieces + 1)))


def _nbytes(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else int(tensor.nbytes)


def _fourier(size: int, taps: int) -> tuple[_Transforms, _Transforms]:
    """Of even and of odd frequencies, for the sum and the difference of a segment's halves: circular correlation.

    Outputs are right where the kernel does not reach around: those of both transforms added and, from the half on, the
    odd ones subtracted. With the spectra X = a + ib of x and p + iq, conjugate, of w their product is
    (m1 - m3) + i(m1 + m2) for m1 = p(a + b), m2 = a(q - p) and m3 = b(p + q). The first product is of frequency 0.
    """
    even, odd = (_frequencies(range(parity, size // 2 + 1, 2), size, taps) for parity in (0, 1))
    return even, odd


def _frequencies(frequencies: range, size: int, taps: int) -> _Transforms:
    signal, kernel, result = [], [], []
    for frequency in frequencies:
        angle = 2 * math.pi * frequency / size * torch.arange(size, dtype=torch.float64)
        cos, sin = angle.cos(), angle.sin()
        if frequency in {0, size // 2}:  # real
            signal.append(cos)
            kernel.append(cos)
            result.append(cos / size)
        else:
            signal += [cos - sin, cos, -sin]
            kernel += [cos, sin - cos, cos + sin]
            result += [2 / size * (cos - sin), -2 / size * sin, -2 / size * cos]
    half = size // 2
    return _Transforms(
        torch.stack(signal)[:, :half].contiguous(),
        torch.stack(kernel)[:, :taps],
        torch.stack(result, 1)[:half].contiguous(),
    )


def _winograd() -> _Transforms:
    """Products of values at ``POINTS`` and infinity (Toom and Cook), transposed: 3 taps, 4 outputs."""
    count = len(POINTS)
    signal, kernel = torch.zeros(count + 1, count + 1, dtype=torch.float64), torch.zeros(count + 1, 3).double()
    result = torch.zeros(4, count + 1, dtype=torch.float64)
    for row, point in enumerate(POINTS):
        others = [other for other in POINTS if other != point]
        signal[row, :count] = _polynomial(others)
        kernel[row] = point ** torch.arange(3.0).double() / math.prod(point - other for other in others)
        result[:, row] = point ** torch.arange(4.0).double()
    signal[count] = _polynomial(POINTS)
    kernel[count, 2] = result[3, count] = 1
    return _Transforms(signal, kernel, result)


def _polynomial(roots: Sequence[float]) -> torch.Tensor:
    """Coefficients, float64, that of the highest power last."""
    found = torch.ones(1, dtype=torch.float64)
    for root in roots:
        found = functional.pad(found, (1, 0)) - root * functional.pad(found, (0, 1))
    return found
