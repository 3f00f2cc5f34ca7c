"""coqui's HiFi-GAN generator as plain functions: weight norm folded, several windows at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch.nn import functional

from serving.engines.hifigan import Convolution, Layer, Precision, Stage, context_of, convolutions, layer
from serving.engines.transfer import arrays_to_device
from serving.engines.xtts.frames import FrameGrid, Window
from serving.errors import ConfigurationError

if TYPE_CHECKING:
    from TTS.vocoder.models.hifigan_generator import HifiganGenerator

__all__ = ["Precision", "Vocoder"]


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
        self.context = context_of(first, self._stages, last)

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

        def copy(module: Any) -> Convolution:
            return Convolution.of(module, device, dtype)

        def inner(module: Any) -> Layer:
            bias = None if module.bias is None else module.bias.detach().to(device, dtype)
            return layer(module.weight.detach().to(device, dtype), bias, module.dilation[0])

        blocks = [tuple(zip(map(inner, b.convs1), map(inner, b.convs2), strict=True)) for b in generator.resblocks]
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

    def frames(self, windows: Sequence[tuple[torch.Tensor, FrameGrid, Window]]) -> torch.Tensor:
        """The frames [windows, channels, length] of windows of one length, each of an utterance's latents so far.

        Latents [n, channels] and frames are float32 on the vocoder's device. Each frame is summed in the same order in
        every window.
        """
        taps = [grid.taps(window.start, window.stop, len(latents)) for latents, grid, window in windows]
        with torch.inference_mode():
            index = arrays_to_device([index for index, _ in taps], self.device)
            weight = arrays_to_device([weight for _, weight in taps], self.device)
            return torch.stack(
                [
                    functional.embedding_bag(indices, latents, per_sample_weights=weights, mode="sum").T
                    for (latents, _, _), indices, weights in zip(windows, index, weight, strict=True)
                ]
            )

    def synthesize(self, frames: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Audio [batch, length * hop] in -1..1, float32, of ``frames`` [batch, channels, length].

        ``embedding`` [batch, 512, 1] are the speakers'. Samples within ``context`` frames of a cut are not to be used.
        """
        with torch.inference_mode(), convolutions(self.device, self._precision):
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
