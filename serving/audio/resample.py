"""Sample-rate conversion by soxr's HQ setting, whole or as a stream."""

from __future__ import annotations

import numpy as np
import soxr

from serving.audio.pcm import Pcm


def resample(pcm: Pcm, from_rate: int, to_rate: int) -> Pcm:
    """``pcm`` [samples] at ``from_rate`` Hz as [samples * to_rate / from_rate] at ``to_rate`` Hz."""
    stream = StreamResampler(from_rate, to_rate)
    return np.concatenate([stream.push(pcm), stream.flush()])


class StreamResampler:
    """Resamples a stream: what ``push`` and ``flush`` return, joined, does not depend on the chunks' sizes.

    soxr holds back about 40 ms of audio from 16 kHz up; nothing when the rates are equal.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._stream = None if from_rate == to_rate else soxr.ResampleStream(from_rate, to_rate, 1, quality="HQ")

    def push(self, pcm: Pcm) -> Pcm:
        """The samples at ``to_rate`` that are ready after ``pcm`` [samples] at ``from_rate``."""
        return self._run(pcm, last=False)

    def flush(self) -> Pcm:
        """The rest; nothing may be pushed afterwards."""
        return self._run(np.zeros(0, np.float32), last=True)

    def _run(self, pcm: Pcm, *, last: bool) -> Pcm:
        if self._stream is None:
            return pcm
        ready: Pcm = self._stream.resample_chunk(np.ascontiguousarray(pcm, np.float32), last=last)
        return ready
