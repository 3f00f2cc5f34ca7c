"""What a pitch method is: the fundamental frequency of speech every 10 ms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

SAMPLE_RATE = 16_000
HOP = 160


class PitchMethod(Protocol):
    """Finds f0; one instance serves every voice."""

    name: str

    def f0(self, audio: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """Hz of ``audio`` float32 [B, samples] at 16 kHz: float32 [B, frames] on the method's device, 0 where unvoiced.

        ``lengths`` are the items' samples, 1 or more; what lies beyond is ignored. Item ``i`` has
        ``frame_count(lengths[i])`` frames, frame ``t`` about sample ``160 t``, equal to those it has alone; 0 follows.
        """
        ...


def frame_count(samples: int) -> int:
    """Frames of audio that long: one about every 160th sample, and that is one more than hops fit in."""
    return samples // HOP + 1


def before(lengths: Sequence[int], size: int, device: torch.device) -> torch.Tensor:
    """bool [B, size], True for the first ``lengths[i]`` of row ``i``."""
    return torch.arange(size, device=device) < torch.tensor(lengths, device=device)[:, None]
