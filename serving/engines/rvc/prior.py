"""RVC's text encoder: from content features and pitch to the distribution of the latents.

A transformer whose attention adds to each score, and mixes into each result, a learned vector for the distance of two
frames where that is at most ten (Shaw et al., 2018, as VITS has it). The references make of it a tensor of
twice the length of the square; here it is the 21 diagonals it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from serving.engines.rvc.configuration import WINDOW, RvcConfig
from serving.engines.rvc.layers import Linear, Norm, Weights, Wide

SLOPE = 0.1
MASKED = -1e4
BLOCK = 1024
"""Queries whose scores are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Attention:
    """``key_vectors`` and ``value_vectors`` [21, channels of a head], for distances -10 to 10."""

    heads: int
    query_key_value: Linear
    out: Linear
    key_vectors: torch.Tensor
    value_vectors: torch.Tensor

    @classmethod
    def of(cls, weights: Weights, name: str, heads: int) -> Attention:
        parts = [Linear.of(weights, f"{name}.conv_{part}") for part in "qkv"]
        joined = Linear(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]))
        vectors = weights[f"{name}.emb_rel_k"][0], weights[f"{name}.emb_rel_v"][0]
        return cls(heads, joined, Linear.of(weights, f"{name}.conv_o"), *vectors)

    def __call__(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """[B, T, C] to the same; ``keep`` bool [B, 1, 1, T + 20] are the keys that count, ten strangers on each side.

        With as many zeros around keys and values, the diagonals of every row are inside of the scores.
        """
        batch, frames, channels = x.shape
        split = self.query_key_value(x).view(batch, frames, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query = split[0] * (channels // self.heads) ** -0.5
        key, value = functional.pad(split[1:], (0, 0, WINDOW, WINDOW))
        mixed = [self._block(query[:, :, at : at + BLOCK], key, value, keep, at) for at in range(0, frames, BLOCK)]
        return self.out(torch.cat(mixed, 2).transpose(1, 2).reshape(batch, frames, channels))

    def _block(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, keep: torch.Tensor, first: int
    ) -> torch.Tensor:
        """For ``query`` [B, heads, some, d], which begins at frame ``first``."""
        scores = query @ key.transpose(2, 3)
        _diagonals(scores, first).add_(query @ self.key_vectors.T)
        share = scores.masked_fill_(~keep, MASKED).softmax(-1)
        return (share @ value).add_(_diagonals(share, first) @ self.value_vectors)


def _diagonals(scores: torch.Tensor, first: int) -> torch.Tensor:
    """The view [B, heads, rows, 21] of ``scores`` [B, heads, rows, T + 20]: of row i, columns first + i onwards."""
    batch, heads, count, _ = scores.shape
    strides = scores.stride()
    size, stride = (batch, heads, count, 2 * WINDOW + 1), (*strides[:2], strides[2] + strides[3], strides[3])
    return scores.as_strided(size, stride, scores.storage_offset() + first)


@dataclass(frozen=True, slots=True)
class Layer:
    """Attention and two convolutions, each added to its input and normed."""

    attention: Attention
    norm_1: Norm
    conv_1: Wide
    conv_2: Wide
    norm_2: Norm

    @classmethod
    def of(cls, weights: Weights, at: int, heads: int) -> Layer:
        name = "enc_p.encoder"
        return cls(
            Attention.of(weights, f"{name}.attn_layers.{at}", heads),
            Norm.of(weights, f"{name}.norm_layers_1.{at}"),
            Wide.of(weights, f"{name}.ffn_layers.{at}.conv_1"),
            Wide.of(weights, f"{name}.ffn_layers.{at}.conv_2"),
            Norm.of(weights, f"{name}.norm_layers_2.{at}"),
        )

    def __call__(self, x: torch.Tensor, mask: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        x = self.norm_1(x + self.attention(x, keep))
        inner = self.conv_2(self.conv_1(x * mask).relu_() * mask)
        return self.norm_2(x + inner * mask)


@dataclass(frozen=True, slots=True)
class Prior:
    """``pitch`` is the table of its 256 bins; None for a voice that is not told the pitch."""

    features: Linear
    pitch: torch.Tensor | None
    layers: tuple[Layer, ...]
    projection: Linear

    @classmethod
    def of(cls, weights: Weights, config: RvcConfig) -> Prior:
        return cls(
            Linear.of(weights, "enc_p.emb_phone"),
            weights["enc_p.emb_pitch.weight"] if config.f0 else None,
            tuple(Layer.of(weights, at, config.heads) for at in range(config.layers)),
            Linear.of(weights, "enc_p.proj"),
        )

    def __call__(
        self, features: torch.Tensor, pitch: torch.Tensor | None, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and logarithm of the deviation, each [B, T, channels].

        ``features`` [B, T, 256 or 768], ``pitch`` int64 [B, T] in 1..255, ``mask`` [B, T, 1].
        """
        x = self.features(features)
        if self.pitch is not None:
            assert pitch is not None, "the voice is told the pitch"
            x = x + functional.embedding(pitch, self.pitch)
        x = functional.leaky_relu(x * math.sqrt(x.shape[2]), SLOPE) * mask
        keep = functional.pad(mask[:, None, None, :, 0] > 0, (WINDOW, WINDOW), value=False)
        for layer in self.layers:
            x = layer(x, mask, keep)
        mean, logs = (self.projection(x * mask) * mask).chunk(2, 2)
        return mean, logs
