"""Long one-dimensional convolutions with a quarter to half of the multiplications, for a CPU.

The signal is cut into overlapping segments, and each is correlated with the kernel by discrete Fourier transforms
(overlap-save) in real numbers: a complex product is three real ones (Gauss). A segment of 32 samples and a kernel of 11
taps take 47 products for 22 outputs, which directly take 242; each is one of channels by channels. Segments are short,
so that a product with a constant matrix is the fastest transform, and the error is a plain convolution's: in float32
2e-7 to 3e-7 of the result (root mean square).
"""

from __future__ import annotations

import math

import torch

from serving.engines.linear import BatchedLinear

LEAST_TAPS, LEAST_WORK = 7, 352
"""Taps, and taps times channels. Below, the transforms cost what is saved: measured on one core of a Xeon, also with
AVX2 alone.
"""

AT_A_TIME = 2**19
"""Values of a signal that are worked on together, so that what is made of them stays in the CPU's cache."""


class Fourier:
    """A convolution with ``weight`` [out, in, taps], odd, and ``bias`` [out] that keeps the length. Keeps no state."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dilation: int) -> None:
        out, channels, taps = weight.shape
        assert taps % 2
        self._out, self._dilation, self._half = out, dilation, taps // 2
        self._size = segment(taps)
        self._outputs = self._size - taps + 1
        signal, kernel, result = (matrix.to(weight.dtype) for matrix in _transforms(self._size))
        self._signal, self._result = signal, result[: self._outputs].contiguous()
        self._at_a_time = max(1, AT_A_TIME // (self._size * dilation * channels))
        self._bias = None if bias is None else bias * self._size
        self._products = BatchedLinear(
            torch.tensordot(kernel[:, :taps], weight, ([1], [2])).mT, self._at_a_time * dilation
        )

    @staticmethod
    def pays(weight: torch.Tensor) -> bool:
        """Whether it is faster than a plain convolution with ``weight`` [out, in, taps] on its device."""
        out, channels, taps = weight.shape
        if weight.device.type != "cpu" or weight.dtype != torch.float32:
            return False
        return bool(taps >= LEAST_TAPS and taps * min(out, channels) >= LEAST_WORK)

    @property
    def padding(self) -> int:
        return int(self._dilation * self._half)

    @property
    def nbytes(self) -> int:
        return self._products.nbytes + (0 if self._bias is None else int(self._bias.nbytes))

    def activated(
        self, x: torch.Tensor, slope: float, *, add: torch.Tensor | None = None, overwrite: bool = False
    ) -> torch.Tensor:
        """See ``Convolution.activated``; ``x`` [B, in, 1, length] is never overwritten."""
        batch, _, _, length = x.shape
        step = self._outputs * self._dilation
        made = x.new_empty(batch, math.ceil(length / step) * step, self._out)
        for item in range(batch):
            for begin in range(0, length, self._at_a_time * step):
                some = made[item, begin : begin + self._at_a_time * step]
                self._convolve(self._inputs(x[item, :, 0].T, slope, begin, len(some)), some)
                if add is not None:  # here, where they are in the cache
                    end = min(begin + len(some), length)
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
        dilation, channels = self._dilation, inputs.shape[1]
        segments = inputs.unflatten(0, (-1, dilation)).unfold(0, self._size, self._outputs).permute(1, 0, 3, 2)
        count = segments.shape[1]
        values = segments.new_empty(dilation, count, len(self._signal), channels)
        for phase, into in zip(segments, values, strict=True):  # torch takes one stride from segment to segment
            torch.bmm(self._signal.expand(count, -1, -1), phase, out=into)
        products = self._products(values.flatten(0, 1))
        if self._bias is not None:
            products[:, 0] += self._bias  # a constant is in frequency 0 alone
        result = self._result.expand(dilation * count, -1, -1)
        if dilation == 1:
            torch.bmm(result, products, out=made.view(count, self._outputs, self._out))
        else:
            phases = torch.bmm(result, products).view(dilation, count * self._outputs, self._out)
            made.view(-1, dilation, self._out).copy_(phases.transpose(0, 1))


def segment(taps: int) -> int:
    """Samples of a segment: about three times as many as taps, where transforms and products together cost least."""
    return 8 * math.ceil(2.8 * taps / 8)


def _transforms(size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Matrices, float64: of the signal and of the kernel [products, size], and of the products [size, products].

    ``result @ ((signal @ x) * (kernel @ w))`` is the circular correlation of x and w, whose outputs are right where the
    kernel does not reach around. With the spectra X = a + ib of x and p + iq, conjugate, of w their product is
    (m1 - m3) + i(m1 + m2) for m1 = p(a + b), m2 = a(q - p) and m3 = b(p + q).
    """
    signal, kernel, result = [], [], []
    for frequency in range(size // 2 + 1):
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
    return torch.stack(signal), torch.stack(kernel), torch.stack(result, 1)
