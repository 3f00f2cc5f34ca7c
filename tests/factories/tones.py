"""Sung-like tones whose pitch is known at every sample."""

from __future__ import annotations

import math

import torch

SAMPLE_RATE = 16_000


def sweep(low_hz: float, high_hz: float, seconds: float, *, harmonics: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """(audio, Hz), both float32 [samples] at 16 kHz: harmonics that fall off as 1/k, gliding evenly in semitones."""
    time = torch.arange(int(SAMPLE_RATE * seconds), dtype=torch.float64) / SAMPLE_RATE
    hertz = low_hz * (high_hz / low_hz) ** (time / seconds)
    phase = 2 * math.pi * hertz.cumsum(0) / SAMPLE_RATE
    audio = sum(torch.sin(k * phase) / k for k in range(1, harmonics + 1))
    return (0.2 * torch.as_tensor(audio)).float(), hertz.float()
