"""What is done to a pitch before it drives a voice. Everywhere 0 Hz is unvoiced, and stays so."""

from __future__ import annotations

import math

import torch

LOWEST_HZ, HIGHEST_HZ = 50.0, 1100.0
"""Ends of the scale of coarse bins; what lies beyond takes the last bin."""

COARSE_BINS = 256
"""Rows of a voice's pitch embedding; row 0 is not used."""

FIRST_NOTE, NOTES = 31, 54
"""Notes that ``autotune`` knows, as MIDI numbers: G1 (49 Hz) to C6 (1046.5 Hz)."""


def transpose(f0: torch.Tensor, semitones: float) -> torch.Tensor:
    """``f0`` in Hz moved by that many semitones; for 0 it is ``f0`` itself."""
    return f0 * 2 ** (semitones / 12) if semitones else f0


def coarse(f0: torch.Tensor) -> torch.Tensor:
    """Bins int64, 1..255, of ``f0`` in Hz: evenly spaced mels between 50 and 1100 Hz; 1 where unvoiced.

    mel = 1127 ln(1 + f0 / 700), in float64 as RVC's ``pipeline.py``, so that both round alike.
    """
    low, high = _mel(LOWEST_HZ), _mel(HIGHEST_HZ)
    mel = 1127 * torch.log1p(f0.double() / 700)
    position = (mel - low) * (COARSE_BINS - 2) / (high - low) + 1
    return position.clamp(1, COARSE_BINS - 1).round().long()


def smooth(f0: torch.Tensor, filter_radius: int) -> torch.Tensor:
    """Median of ``f0`` [B, frames] over ``filter_radius`` frames (the next lower odd number), 0 beyond the ends.

    Below 3 nothing is filtered, as with RVC, which however takes 3 frames for every higher number too and filters only
    what "harvest" found.
    """
    window = filter_radius - 1 + filter_radius % 2
    if window < 3:
        return f0
    padded = torch.nn.functional.pad(f0, (window // 2, window // 2))
    return padded.unfold(-1, window, 1).median(-1).values


def autotune(f0: torch.Tensor, strength: float) -> torch.Tensor:
    """``f0`` moved towards the nearest note (in Hz, as Applio does), all the way at ``strength`` 1."""
    if not strength:
        return f0
    midi = torch.arange(FIRST_NOTE, FIRST_NOTE + NOTES, device=f0.device, dtype=f0.dtype)
    notes = 440 * torch.exp2((midi - 69) / 12)
    upper = torch.bucketize(f0, notes).clamp(1, NOTES - 1)
    below, above = notes[upper - 1], notes[upper]
    nearest = torch.where(f0 - below <= above - f0, below, above)
    return torch.where(f0 > 0, f0 + (nearest - f0) * strength, f0)


def proposed_semitones(f0: torch.Tensor, target_hz: float) -> torch.Tensor:
    """Whole semitones [B] that bring the median of the voiced frames of ``f0`` [B, frames] to ``target_hz``.

    Within an octave either way, as Applio's proposal (155 Hz for a male voice, 255 Hz for a female one); 0 for an item
    without voiced frames.
    """
    median = f0.masked_fill(f0 <= 0, torch.nan).nanmedian(-1).values
    return (12 * torch.log2(target_hz / median)).round().clamp(-12, 12).nan_to_num(0).long()


def _mel(hertz: float) -> float:
    return 1127 * math.log1p(hertz / 700)
