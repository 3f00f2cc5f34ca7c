"""What an RVC voice is built of: the numbers of a checkpoint's ``config``, and the tensors that follow from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Shape = tuple[int, ...]
Version = Literal["v1", "v2"]
FEATURES: dict[Version, int] = {"v1": 256, "v2": 768}
"""Channels of the content features that a version reads; its synthesizer differs in nothing else."""

PITCH_BINS = 256
WINDOW = 10
"""Frames on each side that attention knows the relative position of."""

FLOWS, FLOW_LAYERS, FLOW_KERNEL = 4, 3, 5
OUTER_KERNEL = 7
"""Of the decoder's first and last convolution."""

FRAMES_PER_SECOND = 100

Channels = Annotated[int, Field(ge=1, le=2048)]
Kernel = Annotated[int, Field(ge=1, le=128)]


class RvcConfig(BaseModel):
    """One voice. The released variants differ in ``version``, ``f0``, ``sample_rate`` and the upsampling only.

    ``f0``: the voice is told the pitch. ``speakers``: rows of its speaker table; most train but the first.
    ``embedder``: the content encoder it was trained with, as Applio names it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Version
    f0: bool
    speakers: Annotated[int, Field(ge=1, le=10_000)]
    sample_rate: Annotated[int, Field(ge=8000, le=96_000)]
    inter_channels: Channels
    hidden_channels: Channels
    filter_channels: Annotated[int, Field(ge=1, le=8192)]
    heads: Annotated[int, Field(ge=1, le=64)]
    layers: Annotated[int, Field(ge=1, le=24)]
    kernel_size: Kernel
    resblock_kernels: Annotated[tuple[Kernel, ...], Field(min_length=1, max_length=8)]
    resblock_dilations: tuple[Annotated[tuple[Kernel, ...], Field(min_length=1, max_length=8)], ...]
    upsample_rates: Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=1, max_length=8)]
    upsample_channels: Channels
    upsample_kernels: tuple[Kernel, ...]
    speaker_channels: Channels
    embedder: Annotated[str, Field(max_length=64)] = "contentvec"

    @property
    def hop(self) -> int:
        """Samples per frame, which is 10 ms."""
        return math.prod(self.upsample_rates)

    @property
    def features(self) -> int:
        """Channels of the content features."""
        return FEATURES[self.version]

    @property
    def source_strides(self) -> tuple[int, ...]:
        """Samples of the harmonic source per position of each decoder stage."""
        return tuple(math.prod(self.upsample_rates[at + 1 :]) for at in range(len(self.upsample_rates)))

    @model_validator(mode="after")
    def _fits_together(self) -> RvcConfig:
        pairs = zip(self.upsample_rates, self.upsample_kernels, strict=False)
        rules = {
            "inter_channels are odd": self.inter_channels % 2 == 0,
            "hidden_channels cannot be shared among n_heads": self.hidden_channels % self.heads == 0,
            "kernel_size is even": self.kernel_size % 2 == 1,
            "a resblock kernel is even": all(kernel % 2 for kernel in self.resblock_kernels),
            "resblock kernels and dilations differ in number": (
                len(self.resblock_kernels) == len(self.resblock_dilations)
            ),
            "upsample rates and kernels differ in number": len(self.upsample_rates) == len(self.upsample_kernels),
            "an upsample kernel does not fit its rate": all(
                kernel >= rate and (kernel - rate) % 2 == 0 for rate, kernel in pairs
            ),
            "the harmonic source has an odd stride": all(stride % 2 == 0 for stride in self.source_strides[:-1]),
            "upsample_initial_channel cannot be halved that often": (
                self.upsample_channels % 2 ** len(self.upsample_rates) == 0
            ),
            f"the upsample rates make {self.hop} samples of 10 ms, not {self.sample_rate / 100:g}": (
                self.hop * FRAMES_PER_SECOND == self.sample_rate
            ),
        }
        for wrong, holds in rules.items():
            if not holds:
                raise ValueError(wrong)
        return self

    def shapes(self) -> dict[str, Shape]:
        """Every tensor of the voice by its name in a ``.pth``, weight norm as ``weight_g`` and ``weight_v``."""
        return dict([*self._prior(), *self._flow(), *self._decoder(), ("emb_g.weight", self._speaker_table)])

    @property
    def _speaker_table(self) -> Shape:
        return self.speakers, self.speaker_channels

    def _prior(self) -> Iterator[tuple[str, Shape]]:
        hidden, inner = self.hidden_channels, self.filter_channels
        yield from _affine("enc_p.emb_phone", (hidden, self.features))
        if self.f0:
            yield "enc_p.emb_pitch.weight", (PITCH_BINS, hidden)
        for layer in range(self.layers):
            attention = f"enc_p.encoder.attn_layers.{layer}"
            for name in ("emb_rel_k", "emb_rel_v"):
                yield f"{attention}.{name}", (1, 2 * WINDOW + 1, hidden // self.heads)
            for name in "qkvo":
                yield from _affine(f"{attention}.conv_{name}", (hidden, hidden, 1))
            for norm in (1, 2):
                for name in ("gamma", "beta"):
                    yield f"enc_p.encoder.norm_layers_{norm}.{layer}.{name}", (hidden,)
            ffn = f"enc_p.encoder.ffn_layers.{layer}"
            yield from _affine(f"{ffn}.conv_1", (inner, hidden, self.kernel_size))
            yield from _affine(f"{ffn}.conv_2", (hidden, inner, self.kernel_size))
        yield from _affine("enc_p.proj", (2 * self.inter_channels, hidden, 1))

    def _flow(self) -> Iterator[tuple[str, Shape]]:
        hidden, half = self.hidden_channels, self.inter_channels // 2
        for at in range(0, 2 * FLOWS, 2):  # those between are flips, which have no weights
            flow = f"flow.flows.{at}"
            yield from _affine(f"{flow}.pre", (hidden, half, 1))
            for layer in range(FLOW_LAYERS):
                last = layer == FLOW_LAYERS - 1
                yield from _normed(f"{flow}.enc.in_layers.{layer}", (2 * hidden, hidden, FLOW_KERNEL))
                yield from _normed(f"{flow}.enc.res_skip_layers.{layer}", (hidden if last else 2 * hidden, hidden, 1))
            yield from _normed(f"{flow}.enc.cond_layer", (2 * hidden * FLOW_LAYERS, self.speaker_channels, 1))
            yield from _affine(f"{flow}.post", (half, hidden, 1))

    def _decoder(self) -> Iterator[tuple[str, Shape]]:
        channels, blocks = self.upsample_channels, len(self.resblock_kernels)
        yield from _affine("dec.conv_pre", (channels, self.inter_channels, OUTER_KERNEL))
        yield from _affine("dec.cond", (channels, self.speaker_channels, 1))
        if self.f0:
            yield from _affine("dec.m_source.l_linear", (1, 1))
        for at, (kernel, stride) in enumerate(zip(self.upsample_kernels, self.source_strides, strict=True)):
            half = channels // 2
            yield from _normed(f"dec.ups.{at}", (channels, half, kernel), outputs=half)
            if self.f0:
                yield from _affine(f"dec.noise_convs.{at}", (half, 1, 1 if stride == 1 else 2 * stride))
            for block, (width, dilations) in enumerate(
                zip(self.resblock_kernels, self.resblock_dilations, strict=True), at * blocks
            ):
                for group in ("convs1", "convs2"):
                    for layer in range(len(dilations)):
                        yield from _normed(f"dec.resblocks.{block}.{group}.{layer}", (half, half, width))
            channels = half
        yield "dec.conv_post.weight", (1, channels, OUTER_KERNEL)


def _affine(name: str, shape: Shape) -> list[tuple[str, Shape]]:
    return [(f"{name}.weight", shape), (f"{name}.bias", shape[:1])]


def _normed(name: str, shape: Shape, outputs: int | None = None) -> list[tuple[str, Shape]]:
    """Of a weight-normed layer; ``outputs`` of a transposed one, whose weight begins with its inputs."""
    size = (shape[0], 1, 1)
    return [(f"{name}.weight_g", size), (f"{name}.weight_v", shape), (f"{name}.bias", (outputs or shape[0],))]
