"""What ``benchmarks.xtts`` measured, and how it is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from benchmarks.coqui import Span, Utterance
from serving.audio.pcm import Pcm

SAMPLE_RATE = 24000


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that were made at the same moment."""

    whole: Span
    audio: list[Pcm]
    first_s: list[float]

    @property
    def audio_s_per_s(self) -> float:
        return sum(map(len, self.audio)) / SAMPLE_RATE / self.whole.wall


@dataclass(slots=True)
class Figures:
    """Of all rounds; coqui's, and ours with ``concurrency`` requests at a time and alone."""

    concurrency: int
    coqui: list[Utterance] = field(default_factory=list)
    coqui_first_s: list[float] = field(default_factory=list)
    steps: list[Span] = field(default_factory=list)
    """Of ours, per token."""
    batches: list[Batch] = field(default_factory=list)
    alone: list[Batch] = field(default_factory=list)


def report(title: str, device: str, figures: Figures, peak_mb: float, parity: float) -> None:
    """Print the table and the line of JSON."""
    print(title)
    print(f"{'':34}{'coqui':>10}{'ours':>10}{'ratio':>8}{'CPU: coqui':>13}{'ours':>10}{'ratio':>8}")
    requests = [utterance.whole for utterance in figures.coqui]
    decode_ratio = _spans("decode, ms per token", [utterance.decode for utterance in figures.coqui], figures.steps)
    request_ratio = _spans("whole request, ms", requests, [batch.whole / len(batch.audio) for batch in figures.batches])
    _spans("whole request, one at a time, ms", requests, [batch.whole for batch in figures.alone])
    first_alone_s = median(seconds for batch in figures.alone for seconds in batch.first_s)
    coqui_first_s = median(figures.coqui_first_s)
    print(f"{'first audio, one at a time, ms':34}{_pair(coqui_first_s, first_alone_s)}")
    first_ms = [seconds * 1000 for batch in figures.batches for seconds in batch.first_s]
    p50, p95 = (float(np.percentile(first_ms, share)) for share in (50, 95))
    audio_s_per_s = median(batch.audio_s_per_s for batch in figures.batches)
    print(f"first audio, {figures.concurrency} at a time: p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    print(f"{audio_s_per_s:.2f} s of audio in a second, peak memory {peak_mb:.0f} MB, greedy audio off by {parity:.1e}")
    result = {
        "device": device,
        "concurrency": figures.concurrency,
        "decode_ratio": round(decode_ratio, 2),
        "request_ratio": round(request_ratio, 2),
        "audio_s_per_s": round(audio_s_per_s, 3),
        "first_audio_p50_ms": round(p50, 1),
        "first_audio_p95_ms": round(p95, 1),
        "peak_memory_mb": round(peak_mb),
        "parity_max_rel": float(f"{parity:.2e}"),
    }
    print(json.dumps(result))


def _spans(name: str, theirs: Sequence[Span], ours: Sequence[Span]) -> float:
    """Print a row of medians by the clock and in CPU time; returns their ratio by the clock."""
    wall = [median(span.wall for span in spans) for spans in (theirs, ours)]
    cpu = [median(span.cpu for span in spans) for spans in (theirs, ours)]
    print(f"{name:34}{_pair(wall[0], wall[1])}   {_pair(cpu[0], cpu[1])}")
    return wall[0] / wall[1]


def _pair(theirs_s: float, ours_s: float) -> str:
    return f"{theirs_s * 1000:10.1f}{ours_s * 1000:10.1f}{theirs_s / ours_s:7.2f}x"
