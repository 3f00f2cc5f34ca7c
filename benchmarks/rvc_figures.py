"""What ``benchmarks.rvc`` measured, and how it is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.coqui import Span


@dataclass(slots=True)
class Pair:
    """The oracle's and ours."""

    theirs: list[Span] = field(default_factory=list)
    ours: list[Span] = field(default_factory=list)

    def told(self, name: str, unit: str = "s") -> float:
        """Print a row of medians by the clock and in CPU time; returns their ratio by the clock."""
        scale = {"s": 1.0, "ms": 1000.0}[unit]
        wall = [median(span.wall for span in spans) for spans in (self.theirs, self.ours)]
        cpu = [median(span.cpu for span in spans) for spans in (self.theirs, self.ours)]
        print(f"{name + ', ' + unit:44}{_pair(wall, scale)}   {_pair(cpu, scale)}")
        return wall[0] / wall[1]


@dataclass(slots=True)
class Figures:
    """Of all rounds. The oracle takes ``requests`` one after another, ours all at once."""

    requests: int
    seconds: float
    alone: Pair = field(default_factory=Pair)
    streamed: Pair = field(default_factory=Pair)
    together: Pair = field(default_factory=Pair)
    one_voice: Pair = field(default_factory=Pair)
    switch: Pair = field(default_factory=Pair)
    reading: Pair = field(default_factory=Pair)


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest between both one's audio, with the same f0 and with each one's own, and the loudest sample."""

    same_f0: float
    own_f0: float
    loudest: float


def report(title: str, device: str, oracle: str, figures: Figures, parity: Difference) -> None:
    """Print the table and the line of JSON."""
    print(title)
    print(f"{'':44}{oracle[:10]:>10}{'ours':>10}{'ratio':>8}{'CPU: theirs':>13}{'ours':>10}{'ratio':>8}")
    alone = figures.alone.told("alone")
    figures.streamed.told("alone, streamed")
    together = figures.together.told(f"{figures.requests} at once, other voices and pitches")
    figures.one_voice.told(f"{figures.requests} at once, one voice")
    switch = figures.switch.told("to another voice in memory", "ms")
    figures.reading.told("a voice read from its files", "ms")
    rtf = median(span.wall for span in figures.together.ours) / (figures.requests * figures.seconds)
    print(
        f"audio differs by {parity.same_f0:.1e} at most with the same f0, by {parity.own_f0:.1e} with each one's own; "
        f"the loudest sample is {parity.loudest:.2f}"
    )
    result = {
        "device": device,
        "alone_ratio": round(alone, 2),
        "throughput_ratio_8": round(together, 2),
        "switch_ratio": round(switch, 1),
        "parity_max_abs": float(f"{parity.same_f0:.2e}"),
        "rtf": round(rtf, 4),
    }
    print(json.dumps(result))


def _pair(seconds: Sequence[float], scale: float) -> str:
    theirs, ours = seconds
    return f"{theirs * scale:10.2f}{ours * scale:10.2f}{theirs / ours:7.2f}x"
