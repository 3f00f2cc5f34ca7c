"""From the salience of 360 pitches, which RMVPE, CREPE and FCPE all give, to a frequency."""

from __future__ import annotations

import torch

BINS = 360
FIRST_CENTS = 1997.3794084376191
"""Bin 0 is 31.7 Hz: 1997.38 cents (hundredths of a semitone) above 10 Hz; bins are 20 cents apart (CREPE, 2018)."""

REACH = 4
"""Bins on each side that the mean about the strongest one takes in."""


def cents(device: torch.device) -> torch.Tensor:
    """Cents above 10 Hz of the bins of RMVPE and CREPE, float32 [360]."""
    return 20 * torch.arange(BINS, device=device, dtype=torch.float32) + FIRST_CENTS


def decode(salience: torch.Tensor, threshold: float, scale: torch.Tensor | None = None) -> torch.Tensor:
    """Hz [...] of ``salience`` [..., 360]: about its strongest bin; 0 where that is not above ``threshold``."""
    strongest, centre = salience.max(-1)
    return torch.where(strongest > threshold, frequency_about(salience, centre, scale), 0)


def frequency_about(salience: torch.Tensor, centre: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
    """Hz [...]: the mean of the bins within 4 of bin ``centre`` [...], weighted by ``salience`` [..., 360].

    f = 10 * 2^(cents / 1200), cents by ``scale`` [360] or ``cents``; at the ends of the scale the window is narrower.
    Nothing but zeros gives 0.
    """
    scale = cents(salience.device) if scale is None else scale
    reach = torch.arange(-REACH, REACH + 1, device=salience.device)
    bins = centre[..., None] + reach
    inside = (bins >= 0) & (bins < BINS)
    bins = bins.clamp(0, BINS - 1)
    weights = salience.float().gather(-1, bins) * inside
    total = weights.sum(-1)
    mean = (weights * scale[bins]).sum(-1) / total.clamp(min=1e-30)
    return torch.where(total > 0, 10 * torch.exp2(mean / 1200), 0)
