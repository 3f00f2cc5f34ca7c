"""Where a recording is cut, as it comes: the windows that are converted one by one, and what surrounds them.

RVC converts a window together with a second on each side, which is thrown away. Where someone listens windows grow, so
that the first sound comes soon and a long recording costs little; where all of it is waited for they are long from the
start. They end at the quietest moment near their planned end, where a join cannot be heard. Both depend on the samples
alone: however a recording arrives, its windows are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.audio.pcm import Pcm

RATE = 16000
"""Hz of what content encoder and pitch detector hear."""

HOP = 160
"""Samples of a frame of 10 ms: pitch has one value, the synthesizer one latent for each."""

CONTEXT = 100
"""Frames on each side: ``x_pad`` of 1 s in RVC's own pipeline."""

GROWTH_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Planned lengths of the first, second, ... window for someone who listens while they are made."""

WHOLE_S = GROWTH_S[-1:]
"""The same for someone who waits for the whole: 10 s are one window with 2 s of context, and not four with 8 s."""

SEARCH = 40
"""Frames before the planned end among which the quietest is taken."""

QUIET = 1600
"""Samples around a cut whose loudness counts: 0.1 s."""


@dataclass(frozen=True, slots=True)
class Window:
    """Frames [first, last) of a recording. ``pcm`` float32 holds their samples with ``CONTEXT`` frames on each side,
    mirrored where the recording has none; ``length`` samples of the window are the recording's, the rest padding.
    """

    index: int
    first: int
    last: int
    length: int
    pcm: Pcm

    @property
    def frames(self) -> int:
        return self.last - self.first


class WindowCutter:
    """Takes a recording at 16 kHz piece by piece and gives its windows, each as soon as its context is there."""

    def __init__(self, lengths_s: Sequence[float] = GROWTH_S) -> None:
        self._lengths_s = lengths_s
        self._kept: Pcm = np.zeros(0, np.float32)
        self._kept_from = 0
        self._arrived = 0
        self._index = 0
        self._first = 0

    def push(self, pcm: Pcm) -> list[Window]:
        """The windows that are complete after ``pcm`` [samples]."""
        self._kept = np.concatenate([self._kept, pcm])
        self._arrived += len(pcm)
        windows = []
        while self._arrived >= (self._planned() + CONTEXT) * HOP:
            windows.append(self._take(self._quietest()))
        return windows

    def finish(self) -> list[Window]:
        """The rest; nothing may be pushed afterwards. Windows of what is left are cut as if more would come."""
        windows = []
        frames = -(-self._arrived // HOP)
        while self._planned() < frames:
            windows.append(self._take(self._quietest()))
        if self._first < frames:
            windows.append(self._take(frames))
        return windows

    def _planned(self) -> int:
        """The frame at which the next window should end."""
        return self._first + int(self._lengths_s[min(self._index, len(self._lengths_s) - 1)] * RATE) // HOP

    def _quietest(self) -> int:
        """The frame among the last ones before the planned end around which there is least to hear."""
        last = self._planned()
        begin = (last - SEARCH) * HOP - QUIET // 2 - self._kept_from
        heard = self._kept[max(begin, 0) : begin + SEARCH * HOP + QUIET].astype(np.float64) ** 2
        total = np.concatenate([[0.0], heard.cumsum()])
        ends = np.minimum(np.arange(1, SEARCH + 1) * HOP + QUIET, len(heard))
        energy = total[ends] - total[np.maximum(ends - QUIET, 0)]
        return last - SEARCH + 1 + int(energy.argmin())

    def _take(self, last: int) -> Window:
        first = self._first
        length = min(last * HOP, self._arrived) - first * HOP
        window = Window(self._index, first, last, length, self._around(first, last))
        self._index += 1
        self._first = last
        keep = max(0, (last - CONTEXT) * HOP - QUIET)
        if keep > self._kept_from:
            self._kept = self._kept[keep - self._kept_from :]
            self._kept_from = keep
        return window

    def _around(self, first: int, last: int) -> Pcm:
        """The samples of frames [first - CONTEXT, last + CONTEXT), mirrored at the recording's ends."""
        begin, end = (first - CONTEXT) * HOP, (last + CONTEXT) * HOP
        inside = self._kept[max(begin, 0) - self._kept_from : min(end, self._arrived) - self._kept_from]
        missing = (max(-begin, 0), max(end - self._arrived, 0))
        return np.pad(inside, missing, mode="reflect" if len(inside) > 1 else "edge")
