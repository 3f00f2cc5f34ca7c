"""RVC's decoder: HiFi-GAN, told the harmonic source at each of its rates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from serving.engines.hifigan import Convolution, Layer, Precision, Stage, context_of, convolutions, layer
from serving.engines.rvc.configuration import RvcConfig
from serving.engines.rvc.layers import Linear, Span, Weights, image

TILE = 128
"""Frames that a CPU decodes at a time: memory stays flat, at no cost in speed."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """Keeps no state. ``hop`` is its samples per frame, ``context`` the frames on each side that a frame depends on."""

    first: Convolution
    speaker: Linear
    stages: tuple[Stage, ...]
    sources: tuple[Convolution, ...]
    last: Convolution
    precision: Precision

    @classmethod
    def of(cls, weights: Weights, config: RvcConfig, precision: Precision) -> Decoder:
        """With weights in half precision for "float16", but for the last layer's."""
        dtype = torch.float16 if precision == "float16" else torch.float32
        half = {key: tensor.to(dtype) for key, tensor in weights.items() if key.startswith("dec.")}
        count = len(config.resblock_kernels)
        blocks = [
            tuple(
                (
                    _layer(half, f"dec.resblocks.{at}.convs1.{number}", dilation),
                    _layer(half, f"dec.resblocks.{at}.convs2.{number}"),
                )
                for number, dilation in enumerate(config.resblock_dilations[at % count])
            )
            for at in range(count * len(config.upsample_rates))
        ]
        stages = tuple(
            Stage(_upsampling(half, f"dec.ups.{at}", rate), tuple(blocks[at * count : (at + 1) * count]))
            for at, rate in enumerate(config.upsample_rates)
        )
        sources = (
            tuple(_source(half, f"dec.noise_convs.{at}", stride) for at, stride in enumerate(config.source_strides))
            if config.f0
            else ()
        )
        last = Convolution.plain(weights["dec.conv_post.weight"], None, 3)
        speaker = Linear.of(weights, "dec.cond")
        return cls(_convolution(half, "dec.conv_pre"), speaker, stages, sources, last, precision)

    @property
    def hop(self) -> int:
        return math.prod(stage.upsampling.stride for stage in self.stages)

    @property
    def context(self) -> int:
        """10 to 13 in the released variants. The source's own context is less: half of a stage's step."""
        return context_of(self.first, self.stages, self.last)

    @property
    def nbytes(self) -> int:
        convolutions = [self.first, *self.sources, self.last]
        own = sum(layer.nbytes for layer in convolutions) + sum(stage.nbytes for stage in self.stages)
        return own + int(self.speaker.weight.nbytes + self.speaker.bias.nbytes)

    def __call__(
        self, z: torch.Tensor, source: torch.Tensor | None, speaker: torch.Tensor, wanted: Span | None = None
    ) -> torch.Tensor:
        """Audio [B, frames * hop] in -1..1, float32, of the frames ``wanted`` of ``z``, by default all.

        ``z`` [B, T, channels], ``source`` [B, T * hop], ``speaker`` [B, channels]. Frames of which ``z`` has less than
        ``context`` on one side are right if there is nothing more. Each layer computes no more than the next one needs.
        """
        first, last = wanted or (0, z.shape[1])
        dtype = self.first.weight.dtype
        wave = None if source is None else source[:, None, None].to(dtype, memory_format=torch.channels_last)
        with convolutions(z.device, self.precision):
            x = self.first(image(z).to(dtype))
            x += self.speaker(speaker)[:, :, None, None].to(dtype)
            begin = 0
            for at, (stage, (start, end)) in enumerate(zip(self.stages, self._inputs(first, last), strict=True)):
                x = x[..., max(start - begin, 0) : end - begin]
                begin = max(start, 0) * stage.upsampling.stride
                condition = None
                if wave is not None:
                    condition = self.sources[at](wave)[..., begin : begin + x.shape[-1] * stage.upsampling.stride]
                x = stage(x, condition)
            audio = self.last(functional.leaky_relu_(x).float()).tanh_()[:, 0, 0]
        return audio[:, first * self.hop - begin : last * self.hop - begin]

    def _inputs(self, first: int, last: int) -> list[Span]:
        """What each stage must be given for frames [first, last), beyond both ends of what there is as well."""
        start, end = first * self.hop - self.last.padding, last * self.hop - 1 + self.last.padding
        spans: list[Span] = []
        for stage in reversed(self.stages):
            start, end = stage.inputs_of(start, end)
            spans.append((start, end + 1))
        return spans[::-1]


def _layer(weights: Weights, name: str, dilation: int = 1) -> Layer:
    return layer(weights[f"{name}.weight"], weights[f"{name}.bias"], dilation)


def _convolution(weights: Weights, name: str) -> Convolution:
    weight = weights[f"{name}.weight"]
    return Convolution.plain(weight, weights[f"{name}.bias"], weight.shape[2] // 2)


def _upsampling(weights: Weights, name: str, rate: int) -> Convolution:
    weight = weights[f"{name}.weight"]
    return Convolution.plain(weight, weights[f"{name}.bias"], (weight.shape[2] - rate) // 2, stride=rate)


def _source(weights: Weights, name: str, stride: int) -> Convolution:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return Convolution.plain(weight, bias, stride // 2 if stride > 1 else 0, stride=stride)
