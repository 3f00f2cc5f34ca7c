"""A recording, decoded once: its samples in a file, where it speaks, where it clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from serving.audio.decode import read_file
from serving.audio.pcm import Pcm
from serving.audio.resample import StreamResampler
from serving.files import refusing
from training.dataset import voice_activity
from training.dataset.metadata import SAMPLE_RATE
from training.dataset.voice_activity import WINDOW_S, Region, VoiceActivity, speech_regions

LONGEST_S = 12 * 3600.0
FULL_SCALE = 0.999
"""Two samples in a row from here up are clipped: speech touches full scale for one at most."""


@dataclass(frozen=True, slots=True)
class Waveform:
    """``samples`` float32 [samples] at 22,050 Hz (mapped from a file), ``probabilities`` of speech per 32 ms.

    ``clipped`` are (start, end in seconds, share of clipped samples) of pieces that clip, at the file's own rate.
    """

    samples: Pcm
    probabilities: npt.NDArray[np.float32]
    regions: list[Region]
    clipped: list[tuple[float, float, float]]

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    def cut(self, start: float, end: float) -> Pcm:
        """The samples between two times, copied."""
        first, last = round(max(start, 0.0) * SAMPLE_RATE), round(end * SAMPLE_RATE)
        return np.array(self.samples[first:last])

    def speaks_at(self, time: float) -> bool:
        """Whether the window around ``time`` is speech."""
        index = int(time / WINDOW_S)
        return 0 <= index < len(self.probabilities) and bool(self.probabilities[index] >= voice_activity.SPEECH)

    def clipped_share(self, start: float, end: float) -> float:
        """Share of the samples between two times that are clipped, as far as pieces of 0.1 s tell."""
        total = sum(
            share * max(0.0, min(end, last) - max(start, first))
            for first, last, share in self.clipped
            if first < end and last > start
        )
        return total / max(end - start, 1e-9)


def read_waveform(
    path: Path, name: str, spool: IO[bytes], activity: VoiceActivity, heard: Callable[[float], None]
) -> Waveform:
    """Decode ``path`` into ``spool``, telling ``heard`` the seconds so far, which may raise to give up.

    Memory does not follow the length. Raises InvalidRequest and PayloadTooLarge naming ``name`` for what cannot be
    read or is longer than 12 hours, and StorageError when the spool takes no more.
    """
    activity.begin()
    probabilities: list[float] = []
    clipped: list[tuple[float, float, float]] = []
    keeping = listening = StreamResampler(1, 1)
    seconds, rate = 0.0, 0
    for piece in read_file(path, max_seconds=LONGEST_S, param=name):
        if not rate:
            rate = piece.sample_rate
            keeping, listening = StreamResampler(rate, SAMPLE_RATE), StreamResampler(rate, voice_activity.SAMPLE_RATE)
        if share := _clipped(piece.pcm):
            clipped.append((seconds, seconds + piece.seconds, share))
        _write(spool, keeping.push(piece.pcm), path)
        probabilities += activity.push(listening.push(piece.pcm))
        seconds += piece.seconds
        heard(seconds)
    _write(spool, keeping.flush(), path)
    probabilities += activity.push(listening.flush()) + activity.finish()
    with refusing(path):
        spool.flush()
    samples = np.memmap(spool, np.float32, "r") if spool.tell() else np.zeros(0, np.float32)
    found = np.array(probabilities, np.float32)
    return Waveform(samples, found, speech_regions(found), clipped)


def _clipped(pcm: Pcm) -> float:
    full = np.abs(pcm) >= FULL_SCALE
    return float(np.count_nonzero(full[1:] & full[:-1])) / max(len(pcm), 1)


def _write(spool: IO[bytes], pcm: Pcm, path: Path) -> None:
    with refusing(path):
        spool.write(pcm.astype(np.float32, copy=False).tobytes())
