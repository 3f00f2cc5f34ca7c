"""The parts of a HiFi-GAN generator as plain functions, for every engine that has one: weight norm is folded.

Everything is two-dimensional with a height of 1 and channels last. On one CPU core (AVX-512, float32, full width) that
is 1.1 to 1.3 times as fast as ``conv1d``, for which oneDNN reorders every activation twice.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch.nn import functional

from serving.engines.fast_convolution import FastConvolution

Precision = Literal["tf32", "float32", "float16"]
"""Never bfloat16: its noise floor (35 to 49 dB below the audio) may be heard."""

SLOPE = 0.1
"""Of every leaky ReLU but the last, which has torch's default; HifiganGenerator.forward of coqui-tts."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """Keeps the length (so an output depends on ``padding`` inputs on each side), or with a ``stride`` divides it or,
    transposed, multiplies it.
    """

    weight: torch.Tensor
    """[out, in, 1, width], or [in, out, 1, width] where it is transposed."""

    bias: torch.Tensor | None
    padding: int
    dilation: int
    stride: int

    @classmethod
    def of(cls, layer: Any, device: torch.device, dtype: torch.dtype) -> Convolution:
        """A copy of one of torch's one-dimensional layers, its weight norm worked out."""
        weight = layer.weight.detach().to(device, dtype)[:, :, None].clone(memory_format=torch.channels_last)
        bias = None if layer.bias is None else layer.bias.detach().to(device, dtype, copy=True)
        return cls(weight, bias, layer.padding[0], layer.dilation[0], layer.stride[0])

    @classmethod
    def plain(
        cls, weight: torch.Tensor, bias: torch.Tensor | None, padding: int, *, dilation: int = 1, stride: int = 1
    ) -> Convolution:
        """With copies of ``weight`` [out, in, width] and ``bias`` [out], in their dtype."""
        weight = weight[:, :, None].clone(memory_format=torch.channels_last)
        return cls(weight, None if bias is None else bias.clone(), padding, dilation, stride)

    @property
    def nbytes(self) -> int:
        return int(self.weight.nbytes + (0 if self.bias is None else self.bias.nbytes))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(
            x,
            self.weight,
            self.bias,
            stride=(1, self.stride),
            padding=(0, self.padding),
            dilation=(1, self.dilation),
        )

    def activated(
        self, x: torch.Tensor, slope: float, *, add: torch.Tensor | None = None, overwrite: bool = False
    ) -> torch.Tensor:
        """Of the leaky ReLU of ``x``, which may be written into ``x``; plus ``add``."""
        made = self((functional.leaky_relu_ if overwrite else functional.leaky_relu)(x, slope))
        return made if add is None else made.add_(add)

    def transposed(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv_transpose2d(
            x, self.weight, self.bias, stride=(1, self.stride), padding=(0, self.padding)
        )


class Layer(Protocol):
    """A convolution of a residual block, which keeps the length: ``Convolution`` or ``FastConvolution``."""

    @property
    def padding(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    def activated(
        self, x: torch.Tensor, slope: float, *, add: torch.Tensor | None = None, overwrite: bool = False
    ) -> torch.Tensor: ...


def layer(weight: torch.Tensor, bias: torch.Tensor | None, dilation: int) -> Layer:
    """With copies of ``weight`` [out, in, width] and ``bias`` [out]: the way that is faster on their device."""
    if FastConvolution.pays(weight):
        return FastConvolution(weight, bias, dilation)
    return Convolution.plain(weight, bias, dilation * (weight.shape[2] // 2), dilation=dilation)


Block = tuple[tuple[Layer, Layer], ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """One upsampling, and the residual blocks whose mean is its result."""

    upsampling: Convolution
    blocks: tuple[Block, ...]

    @property
    def nbytes(self) -> int:
        layers = [layer for block in self.blocks for pair in block for layer in pair]
        return self.upsampling.nbytes + sum(layer.nbytes for layer in layers)

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        """The inputs (both ends included) that outputs ``first`` to ``last`` depend on."""
        reach = max(sum(one.padding + two.padding for one, two in block) for block in self.blocks)
        up = self.upsampling
        behind = up.weight.shape[-1] - 1 - up.padding
        return math.ceil((first - reach - behind) / up.stride), (last + reach + up.padding) // up.stride

    def __call__(self, x: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        """``x`` is overwritten; ``condition`` is added behind the upsampling."""
        x = self.upsampling.transposed(functional.leaky_relu_(x, SLOPE))
        if condition is not None:
            x += condition
        total = _residual(x, self.blocks[0])
        for block in self.blocks[1:]:
            total += _residual(x, block)
        return total.div_(len(self.blocks))


def context_of(first: Convolution, stages: Sequence[Stage], last: Convolution) -> int:
    """The frames on each side that a frame's audio depends on."""
    start, end = -last.padding, math.prod(stage.upsampling.stride for stage in stages) - 1 + last.padding
    for stage in reversed(stages):
        start, end = stage.inputs_of(start, end)
    return max(-start, end) + first.padding


def convolutions(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[None]:
    """cuDNN set to the precision, within the block only."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    cudnn = torch.backends.cudnn
    flags: contextlib.AbstractContextManager[None] = cudnn.flags(
        enabled=True,
        benchmark=cudnn.benchmark,
        benchmark_limit=cudnn.benchmark_limit,
        deterministic=cudnn.deterministic,
        allow_tf32=precision == "tf32",
    )
    return flags


def _residual(x: torch.Tensor, block: Block) -> torch.Tensor:
    """``x`` through one residual block; ``x`` itself is left as it is."""
    for one, two in block:
        inner = one.activated(x, SLOPE)
        x = two.activated(inner, SLOPE, add=x, overwrite=True)
    return x
