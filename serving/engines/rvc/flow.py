"""RVC's normalizing flow backwards: from the prior's latents to the decoder's.

Four mean-only couplings with a small WaveNet each (VITS, section 2.2.1), between which the channels change places.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from serving.engines.rvc.configuration import FLOW_KERNEL, FLOW_LAYERS, FLOWS
from serving.engines.rvc.layers import Linear, Weights, Wide

CONTEXT = FLOWS * FLOW_LAYERS * (FLOW_KERNEL // 2)
"""Frames on each side that a frame depends on: 24."""


@dataclass(frozen=True, slots=True)
class Coupling:
    """Takes from one half of the channels what it makes of the other."""

    pre: Linear
    condition: Linear
    inner: tuple[Wide, ...]
    residual_skip: tuple[Linear, ...]
    post: Linear

    @classmethod
    def of(cls, weights: Weights, name: str) -> Coupling:
        return cls(
            Linear.of(weights, f"{name}.pre"),
            Linear.of(weights, f"{name}.enc.cond_layer"),
            tuple(Wide.of(weights, f"{name}.enc.in_layers.{at}") for at in range(FLOW_LAYERS)),
            tuple(Linear.of(weights, f"{name}.enc.res_skip_layers.{at}") for at in range(FLOW_LAYERS)),
            Linear.of(weights, f"{name}.post"),
        )

    def __call__(self, x: torch.Tensor, mask: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        """The inverse; ``x`` is overwritten."""
        kept, moved = x.chunk(2, 2)
        moved.sub_(self.post(self._wavenet(self.pre(kept) * mask, mask, speaker))).mul_(mask)
        return x

    def _wavenet(self, x: torch.Tensor, mask: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        hidden = x.shape[2]
        total = torch.zeros_like(x)
        conditions = self.condition(speaker)[:, None].chunk(FLOW_LAYERS, 2)
        for inner, residual_skip, condition in zip(self.inner, self.residual_skip, conditions, strict=True):
            filtered, gate = (inner(x) + condition).chunk(2, 2)
            y = residual_skip(filtered.tanh() * gate.sigmoid())
            total += y[..., -hidden:]
            if y.shape[2] > hidden:  # all but the last
                x = (x + y[..., :hidden]) * mask
        return total * mask


@dataclass(frozen=True, slots=True)
class Flow:
    """``couplings`` in the order of the checkpoint."""

    couplings: tuple[Coupling, ...]

    @classmethod
    def of(cls, weights: Weights) -> Flow:
        return cls(tuple(Coupling.of(weights, f"flow.flows.{at}") for at in range(0, 2 * FLOWS, 2)))

    def __call__(self, z: torch.Tensor, mask: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        """[B, T, channels] of the prior to the decoder's; ``mask`` [B, T, 1], ``speaker`` [B, channels]."""
        for coupling in reversed(self.couplings):
            z = coupling(z.flip(2), mask, speaker)
        return z
