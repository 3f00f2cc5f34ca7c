"""The harmonic source of a voice with pitch: a sine that follows f0, and noise where there is none.

The neural source filter of Wang et al. (2019) with the fundamental alone, as RVC has it: amplitude 0.1, with noise of
0.003 where voiced and of 0.1 / 3 elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from serving.engines.rvc.configuration import FRAMES_PER_SECOND, RvcConfig
from serving.engines.rvc.layers import Linear, Weights

AMPLITUDE = 0.1
VOICED_NOISE, UNVOICED_NOISE = 0.003, AMPLITUDE / 3


@dataclass(frozen=True, slots=True)
class Source:
    """``mix`` is the one weight and one bias that a voice has learned for it."""

    mix: Linear
    hop: int
    sample_rate: int

    @classmethod
    def of(cls, weights: Weights, config: RvcConfig) -> Source:
        return cls(Linear.of(weights, "dec.m_source.l_linear"), config.hop, config.sample_rate)

    def __call__(self, f0: torch.Tensor, phase: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """[B, T * hop], float32, of ``f0`` in Hz [B, T], ``phase`` [B, T] of ``phases`` and ``noise`` [B, T * hop].

        f0 is held for a frame; 0 is unvoiced.
        """
        steps = torch.arange(1, self.hop + 1, device=f0.device)
        cycles = (phase[..., None] + f0[..., None] * (steps / self.sample_rate)).remainder(1)
        voiced = (f0 > 0)[..., None]
        level = torch.where(voiced, VOICED_NOISE, UNVOICED_NOISE)
        wave = (cycles * (2 * math.pi)).sin() * (AMPLITUDE * voiced) + level * noise.view(cycles.shape)
        return self.mix(wave[..., None]).tanh_().flatten(1)


def phases(f0: torch.Tensor) -> torch.Tensor:
    """The sine's phase in cycles (0 to 1) before each frame of ``f0`` [B, T], which has it go on without a break.

    Summed in float64: a minute at 1000 Hz is 60,000 cycles, of which float32 knows a 256th.
    """
    cycles = f0.double() / FRAMES_PER_SECOND
    return (cycles.cumsum(1) - cycles).remainder(1).to(f0.dtype)
