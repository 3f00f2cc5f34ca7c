"""Layers over a voice's folded weights, on sequences [batch, frames, channels]: channels last for a convolution.

A checkpoint has its linear layers as convolutions one wide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from serving.engines.hifigan import Convolution
from serving.engines.linear import linear

Weights = Mapping[str, torch.Tensor]
"""As ``checkpoint.folded`` gives them."""

Span = tuple[int, int]
"""Frames [first, last) of an item."""


@dataclass(frozen=True, slots=True)
class Linear:
    """``weight`` [out, in]."""

    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def of(cls, weights: Weights, name: str) -> Linear:
        return cls(weights[f"{name}.weight"].flatten(1), weights[f"{name}.bias"])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class Wide:
    """A convolution over frames that keeps their number."""

    convolution: Convolution

    @classmethod
    def of(cls, weights: Weights, name: str) -> Wide:
        weight = weights[f"{name}.weight"]
        return cls(Convolution.plain(weight, weights[f"{name}.bias"], weight.shape[2] // 2))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return rows(self.convolution(image(x)))


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer norm over channels."""

    gamma: torch.Tensor
    beta: torch.Tensor

    @classmethod
    def of(cls, weights: Weights, name: str) -> Norm:
        return cls(weights[f"{name}.gamma"], weights[f"{name}.beta"])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, self.gamma.shape, self.gamma, self.beta)


def image(x: torch.Tensor) -> torch.Tensor:
    """[B, T, C] seen as [B, C, 1, T], channels last; nothing is copied."""
    return x.transpose(1, 2)[:, :, None]


def rows(x: torch.Tensor) -> torch.Tensor:
    """The inverse of ``image``."""
    return x[:, :, 0].transpose(1, 2)


def mask_of(lengths: torch.Tensor, frames: int) -> torch.Tensor:
    """[B, frames, 1]: 1 in each item's first frames, 0 behind."""
    return (torch.arange(frames, device=lengths.device) < lengths[:, None])[..., None].float()
