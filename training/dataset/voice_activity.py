"""Where somebody speaks, by silero-vad, whose weights are in its wheel."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from serving.audio.pcm import Pcm

SAMPLE_RATE = 16000
WINDOW = 512
WINDOW_S = WINDOW / SAMPLE_RATE
SPEECH, SILENCE = 0.5, 0.35
"""A window with a probability from SPEECH up begins speech, one below SILENCE ends it: silero's own thresholds."""

SHORTEST_PAUSE_S = 0.1
SHORTEST_SPEECH_S = 0.06


@dataclass(frozen=True, slots=True)
class Region:
    """Speech between ``start`` and ``end`` seconds."""

    start: float
    end: float


class VoiceActivity:
    """The model, which listens to one recording after the other; not for several threads at once."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch.jit.load, which has no successor for this file
            from silero_vad import load_silero_vad

            threads = torch.get_num_threads()
            self._model: Any = load_silero_vad()
            torch.set_num_threads(threads)  # importing silero_vad sets it for the whole process
        self._rest = np.zeros(0, np.float32)

    def begin(self) -> None:
        """Forget the recording before."""
        self._model.reset_states()
        self._rest = np.zeros(0, np.float32)

    def push(self, pcm: Pcm) -> list[float]:
        """The probabilities of the windows of 32 ms that are complete with ``pcm`` [samples] at 16 kHz."""
        pcm = np.concatenate([self._rest, pcm])
        whole = len(pcm) // WINDOW * WINDOW
        self._rest = pcm[whole:]
        with torch.inference_mode():
            return [float(self._model(torch.from_numpy(window), SAMPLE_RATE)) for window in _windows(pcm[:whole])]

    def finish(self) -> list[float]:
        """The last window, filled up with silence."""
        return self.push(np.zeros(-len(self._rest) % WINDOW, np.float32))


def _windows(pcm: Pcm) -> Iterator[Pcm]:
    for start in range(0, len(pcm), WINDOW):
        yield np.ascontiguousarray(pcm[start : start + WINDOW])


def speech_regions(probabilities: npt.NDArray[np.float32]) -> list[Region]:
    """Where speech is, shorter pauses than 0.1 s being part of it and shorter sounds than 0.06 s none."""
    spans: list[tuple[int, int]] = []
    start: int | None = None
    for index, probability in enumerate(probabilities):
        if start is None and probability >= SPEECH:
            start = index
        elif start is not None and probability < SILENCE:
            spans.append((start, index))
            start = None
    if start is not None:
        spans.append((start, len(probabilities)))
    joined: list[tuple[int, int]] = []
    for first, end in spans:
        if joined and (first - joined[-1][1]) * WINDOW_S < SHORTEST_PAUSE_S:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((first, end))
    return [Region(a * WINDOW_S, b * WINDOW_S) for a, b in joined if (b - a) * WINDOW_S >= SHORTEST_SPEECH_S]


def blocks(regions: Sequence[Region], probabilities: npt.NDArray[np.float32], longest_s: float) -> list[Region]:
    """``regions`` gathered into stretches of at most ``longest_s``, parted at the longest pauses.

    Speech that goes on for longer without a pause is cut where it is least sure to be speech.
    """
    pieces = [piece for region in regions for piece in _shortened(region, probabilities, longest_s)]
    parted = [Region(group[0].start, group[-1].end) for group in _parted(pieces, longest_s)] if pieces else []
    gathered: list[Region] = []
    for block in parted:
        if gathered and block.end - gathered[-1].start <= longest_s:
            gathered[-1] = Region(gathered[-1].start, block.end)
        else:
            gathered.append(block)
    return gathered


def _parted(regions: Sequence[Region], longest_s: float) -> list[Sequence[Region]]:
    done: list[Sequence[Region]] = []
    waiting = [regions]
    while waiting:
        group = waiting.pop()
        if group[-1].end - group[0].start <= longest_s or len(group) == 1:
            done.append(group)
            continue
        cut = max(range(1, len(group)), key=lambda at: group[at].start - group[at - 1].end)
        waiting += [group[cut:], group[:cut]]
    return done


def _shortened(region: Region, probabilities: npt.NDArray[np.float32], longest_s: float) -> list[Region]:
    pieces = []
    while region.end - region.start > longest_s:
        first = round((region.start + longest_s / 2) / WINDOW_S)
        last = round((region.start + longest_s) / WINDOW_S)
        cut = (first + int(np.argmin(probabilities[first:last]))) * WINDOW_S
        pieces.append(Region(region.start, cut))
        region = Region(cut, region.end)
    return [*pieces, region]
