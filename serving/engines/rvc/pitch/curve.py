"""Pitch curves drawn at other times than a conversion's frames: uploaded ones, and those of another frame count.

Between two voiced points a curve is a straight line; where one of them is unvoiced (0 Hz) the nearer one counts, since
a line from 0 would be a glide that nobody sang.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass

import torch

from serving.engines.rvc.pitch.base import HOP, SAMPLE_RATE
from serving.errors import InvalidRequest

PARAM = "f0_curve"
MAX_POINTS = 400_000
"""An hour and six minutes at 100 points per second."""

MAX_HZ = 4_000.0


@dataclass(frozen=True, slots=True)
class Curve:
    """``hertz`` at ``seconds``, both float64 [points] on the CPU; times ascend."""

    seconds: torch.Tensor
    hertz: torch.Tensor

    @classmethod
    def parse(cls, text: str) -> Curve:
        """Lines of ``seconds,hertz`` in order of time, 0 for unvoiced; a heading and empty lines are passed over.

        Raises InvalidRequest with param "f0_curve" naming the line.
        """
        points: list[tuple[float, float]] = []
        for number, row in enumerate(csv.reader(text.splitlines()), 1):
            if not row or (number == 1 and not _is_number(row[0])):
                continue
            point = _point(number, row)
            if points and point[0] <= points[-1][0]:
                raise InvalidRequest(f"{PARAM}: line {number} is not later than the one before; sort it by time", PARAM)
            if len(points) == MAX_POINTS:
                raise InvalidRequest(f"{PARAM} has more than {MAX_POINTS} points; send at most 100 per second", PARAM)
            points.append(point)
        if not points:
            raise InvalidRequest(f"{PARAM} has no points; send lines of seconds,hertz", PARAM)
        seconds, hertz = torch.tensor(points, dtype=torch.float64).T.contiguous()
        return cls(seconds, hertz)

    def laid_over(self, f0: torch.Tensor, first_frame: int = 0) -> torch.Tensor:
        """``f0`` [frames] in Hz, with the curve's values at the times that it spans.

        Time 0 of the curve is at frame ``first_frame``, which is what was put before the audio.
        """
        at = (torch.arange(len(f0), dtype=torch.float64) - first_frame) * HOP / SAMPLE_RATE
        nearby = 1e-9
        spanned = (at >= self.seconds[0] - nearby) & (at <= self.seconds[-1] + nearby)
        if not spanned.any():
            return f0
        last = len(self.seconds) - 1
        right = torch.searchsorted(self.seconds, at).clamp(min(1, last), last)
        left = (right - 1).clamp(min=0)
        width = (self.seconds[right] - self.seconds[left]).clamp(min=nearby)
        share = ((at - self.seconds[left]) / width).clamp(0, 1)
        drawn = _between(self.hertz[left], self.hertz[right], share).to(f0)
        return torch.where(spanned.to(f0.device), drawn, f0)


def at_frames(f0: torch.Tensor, frames: int) -> torch.Tensor:
    """``f0`` [..., count] spread over ``frames``: frame ``j`` is what was at j * count / frames."""
    count = f0.shape[-1]
    if count == frames:
        return f0
    position = torch.arange(frames, device=f0.device, dtype=torch.float64) * count / frames
    left = position.long().clamp(max=count - 1)
    right = (left + 1).clamp(max=count - 1)
    return _between(f0[..., left], f0[..., right], (position - left).to(f0.dtype))


def _between(left: torch.Tensor, right: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    nearer = torch.where(share < 0.5 - 1e-6, left, right)  # halfway is the later one, whatever the rounding
    return torch.where((left > 0) & (right > 0), left + (right - left) * share, nearer)


def _point(number: int, row: list[str]) -> tuple[float, float]:
    if len(row) != 2 or not all(_is_number(value) for value in row):
        raise InvalidRequest(f"{PARAM}: line {number} is not two numbers, seconds,hertz", PARAM)
    seconds, hertz = float(row[0]), float(row[1])
    if seconds < 0 or not 0 <= hertz <= MAX_HZ:
        raise InvalidRequest(f"{PARAM}: line {number} needs seconds from 0 and hertz from 0 to {MAX_HZ:.0f}", PARAM)
    return seconds, hertz


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
