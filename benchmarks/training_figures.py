"""What ``benchmarks.training`` measured, and how it is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.coqui import Span

NONE = Span(0.0, 0.0)


@dataclass(slots=True)
class Figures:
    """Spans are of an epoch each, one a round: steps on batches that were made before, and the making of batches."""

    coqui: list[Span] = field(default_factory=list)
    coqui_data: list[Span] = field(default_factory=list)
    ours: list[Span] = field(default_factory=list)
    ours_data: list[Span] = field(default_factory=list)
    ours_shuffled: list[Span] = field(default_factory=list)
    making_features: Span = NONE
    loss_difference: float = 0.0
    padding: float = 0.0
    padding_reference: float = 0.0
    full_size_flops_ratio: float = 0.0
    peak_mb: float = 0.0
    peak_mb_reference: float = 0.0


def report(title: str, device: str, figures: Figures, *, by_clock: bool) -> None:
    """Print the table and the line of JSON, whose ratios are by the clock or of CPU time."""
    print(title)
    print(f"{'':50}{'coqui':>9}{'ours':>9}{'ratio':>8}{'CPU: coqui':>13}{'ours':>9}{'ratio':>8}")
    coqui, ours = _median(figures.coqui), _median(figures.ours)
    coqui_data, ours_data = _median(figures.coqui_data), _median(figures.ours_data)
    with_data, own_data = coqui + coqui_data, ours + ours_data
    rows = {
        "clips_ratio": ("steps on batches made before, s", coqui, ours),
        "bucketing_ratio": ("the same, ours by chance and by length, s", _median(figures.ours_shuffled), ours),
        "end_to_end_ratio": ("with the making of batches, s", with_data, own_data),
        "first_epoch_ratio": ("and of features, s", with_data, own_data + figures.making_features),
    }
    ratios = {name: _row(*row, by_clock=by_clock) for name, row in rows.items()}
    print(f"padding {figures.padding_reference:.2f} and {figures.padding:.2f}, peak memory ", end="")
    print(f"{figures.peak_mb_reference:.0f} and {figures.peak_mb:.0f} MB, loss off by {figures.loss_difference:.1e}")
    result = {
        "device": device,
        **ratios,
        "full_size_flops_ratio": round(figures.full_size_flops_ratio, 2),
        "padding": round(figures.padding, 3),
        "padding_reference": round(figures.padding_reference, 3),
        "loss_difference": figures.loss_difference,
        "peak_memory_mb": round(figures.peak_mb),
        "peak_memory_mb_reference": round(figures.peak_mb_reference),
    }
    print(json.dumps(result))


def _median(spans: Sequence[Span]) -> Span:
    return Span(median(span.wall for span in spans), median(span.cpu for span in spans))


def _row(name: str, coqui: Span, ours: Span, *, by_clock: bool) -> float:
    wall, cpu = coqui.wall / ours.wall, coqui.cpu / ours.cpu
    print(f"{name:50}{coqui.wall:9.2f}{ours.wall:9.2f}{wall:7.2f}x{coqui.cpu:13.2f}{ours.cpu:9.2f}{cpu:7.2f}x")
    return round(wall if by_clock else cpu, 2)
