"""coqui's HiFi-GAN generator as plain functions: weight norm folded, several windows at a time.

Everything is two-dimensional with a height of 1 and channels last. On one CPU core (AVX-512, float32, full width) that
is 1.1 to 1.3 times as fast as ``conv1d``, for which oneDNN reorders every activation twice.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch.nn import functional

from serving.engines.xtts.frames import FrameGrid, Window
from serving.errors import ConfigurationError

if TYPE_CHECKING:
    from TTS.vocoder.models.hifigan_generator import HifiganGenerator

Precision = Literal["tf32", "float32", "float16"]
"""Never bfloat16: its noise floor (35 to 49 dB below the audio) may be heard."""

SLOPE = 0.1
"""Of every leaky ReLU but the last, which has torch's default; HifiganGenerator.forward of coqui-tts."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """Keeps the length (so an output depends on ``padding`` inputs on each side), or, transposed, multiplies it."""

    weight: torch.Tensor
    """[out, in, 1, width], or [in, out, 1, width] where it is transposed."""

    bias: torch.Tensor | None
    padding: int
    dilation: int
    stride: int

    @classmethod
    def of(cls, layer: Any, device: torch.device, dtype: torch.dtype) -> Convolution:
        """A copy of one of coqui's one-dimensional layers, its weight norm worked out."""
        weight = layer.weight.detach().to(device, dtype)[:, :, None].clone(memory_format=torch.channels_last)
        bias = None if layer.bias is None else layer.bias.detach().to(device, dtype, copy=True)
        return cls(weight, bias, layer.padding[0], layer.dilation[0], layer.stride[0])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, self.weight, self.bias, padding=(0, self.padding), dilation=(1, self.dilation))

    def transposed(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv_transpose2d(
            x, self.weight, self.bias, stride=(1, self.stride), padding=(0, self.padding)
        )


Block = tuple[tuple[Convolution, Convolution], ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """One upsampling, and the residual blocks whose mean is its result."""

    upsampling: Convolution
    blocks: tuple[Block, ...]

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        """The inputs (both ends included) that outputs ``first`` to ``last`` depend on."""
        reach = max(sum(one.padding + two.padding for one, two in block) for block in self.blocks)
        up = self.upsampling
        behind = up.weight.shape[-1] - 1 - up.padding
        return math.ceil((first - reach - behind) / up.stride), (last + reach + up.padding) // up.stride

    def __call__(self, x: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        x = self.upsampling.transposed(functional.leaky_relu_(x, SLOPE))
        if condition is not None:
            x += condition
        total = _residual(x, self.blocks[0])
        for block in self.blocks[1:]:
            total += _residual(x, block)
        return total.div_(len(self.blocks))


class Vocoder:
    """Makes audio of windows of frames. It keeps no state, and nothing of coqui's module but copies of its weights.

    ``hop`` is the samples per frame (256 in XTTS v2), ``context`` the frames on each side that a frame depends on (13).
    """

    def __init__(
        self,
        first: Convolution,
        stages: Sequence[Stage],
        last: Convolution,
        conditions: tuple[torch.Tensor, torch.Tensor, list[int]],
        precision: Precision,
    ) -> None:
        self._first, self._stages, self._last = first, tuple(stages), last
        self._conditions = conditions
        self._precision = precision
        self.device = first.weight.device
        self.hop = math.prod(stage.upsampling.stride for stage in stages)
        self.context = self._context()

    @classmethod
    def from_generator(
        cls, generator: HifiganGenerator, device: torch.device, precision: Precision = "tf32"
    ) -> Vocoder:
        """A copy of coqui's ``generator`` on ``device``, which is free to go afterwards.

        "tf32" is float32 with TF32 convolutions where a GPU has them, "float16" keeps weights and activations in half
        precision but for the last layer. Raises ConfigurationError for "float16" on a CPU.
        """
        if precision not in get_args(Precision) or (precision == "float16" and device.type == "cpu"):
            raise ConfigurationError(
                f"the vocoder cannot run in {precision} on {device}; set xtts.vocoder_precision to tf32 or float32",
                "xtts.vocoder_precision",
            )
        dtype = torch.float16 if precision == "float16" else torch.float32

        def copy(layer: Any) -> Convolution:
            return Convolution.of(layer, device, dtype)

        blocks = [tuple(zip(map(copy, b.convs1), map(copy, b.convs2), strict=True)) for b in generator.resblocks]
        kernels = generator.num_kernels
        stages = [
            Stage(copy(up), tuple(blocks[at * kernels : (at + 1) * kernels])) for at, up in enumerate(generator.ups)
        ]
        last = Convolution.of(generator.conv_post, device, torch.float32)
        layers = [generator.cond_layer, *(generator.conds if generator.cond_in_each_up_layer else ())]
        weight = torch.cat([layer.weight.detach()[:, :, 0] for layer in layers]).to(device)
        bias = torch.cat([layer.bias.detach() for layer in layers]).to(device)
        conditions = (weight, bias, [layer.out_channels for layer in layers])
        return cls(copy(generator.conv_pre), stages, last, conditions, precision)

    def frames(self, latents: torch.Tensor, grid: FrameGrid, window: Window) -> torch.Tensor:
        """The frames [channels, window.length] of ``window``, of an utterance's ``latents`` [n, channels] so far.

        Both are float32 on the vocoder's device. Each frame is summed in the same order in every window.
        """
        index, weight = grid.taps(window.start, window.stop, len(latents))
        with torch.inference_mode():
            return functional.embedding_bag(
                torch.from_numpy(index).to(self.device),
                latents,
                per_sample_weights=torch.from_numpy(weight).to(self.device),
                mode="sum",
            ).T

    def synthesize(self, frames: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Audio [batch, length * hop] in -1..1, float32, of ``frames`` [batch, channels, length].

        ``embedding`` [batch, 512, 1] are the speakers'. Samples within ``context`` frames of a cut are not to be used.
        """
        with torch.inference_mode(), self._convolutions():
            if self.device.type == "cpu":  # one by one: a batch outgrows the caches
                return torch.cat([self._audio(*pair) for pair in zip(frames.split(1), embedding.split(1), strict=True)])
            return self._audio(frames, embedding)

    def _audio(self, frames: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        weight, bias, widths = self._conditions
        condition, *conditions = functional.linear(embedding[:, :, 0], weight, bias)[:, :, None, None].split(widths, 1)
        half = self._first.weight.dtype
        x = self._first(frames[:, :, None].to(half, memory_format=torch.channels_last))
        x += condition
        for at, stage in enumerate(self._stages):
            x = stage(x, conditions[at] if conditions else None)
        return self._last(functional.leaky_relu_(x).float()).tanh_()[:, 0, 0]

    def _convolutions(self) -> contextlib.AbstractContextManager[None]:
        """cuDNN set to the precision, for this call only."""
        if self.device.type != "cuda":
            return contextlib.nullcontext()
        cudnn = torch.backends.cudnn
        flags: contextlib.AbstractContextManager[None] = cudnn.flags(
            enabled=True,
            benchmark=cudnn.benchmark,
            benchmark_limit=cudnn.benchmark_limit,
            deterministic=cudnn.deterministic,
            allow_tf32=self._precision == "tf32",
        )
        return flags

    def _context(self) -> int:
        first, last = -self._last.padding, self.hop - 1 + self._last.padding
        for stage in reversed(self._stages):
            first, last = stage.inputs_of(first, last)
        return max(-first, last) + self._first.padding


def _residual(x: torch.Tensor, block: Block) -> torch.Tensor:
    """``x`` through one residual block; ``x`` itself is left as it is."""
    for one, two in block:
        inner = one(functional.leaky_relu(x, SLOPE))
        inner = two(functional.leaky_relu_(inner, SLOPE))
        x = inner.add_(x)
    return x
