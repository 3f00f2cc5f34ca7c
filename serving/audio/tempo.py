"""Time stretch that keeps the pitch: ffmpeg's atempo filter, as a stream."""

from __future__ import annotations

import itertools
from fractions import Fraction

import av
import av.filter
import numpy as np

from serving.audio.pcm import Pcm

SLOWEST, FASTEST = 0.25, 4.0


class Tempo:
    """Speaks ``factor`` times as fast, 0.25..4, at the same pitch and sample rate."""

    def __init__(self, factor: float, sample_rate: int) -> None:
        assert SLOWEST <= factor <= FASTEST, factor
        self._sample_rate = sample_rate
        self._pushed = 0
        self._graph = None if factor == 1.0 else _graph(factor, sample_rate)

    def push(self, pcm: Pcm) -> Pcm:
        """The stretched samples that are ready after ``pcm`` [samples]."""
        if self._graph is None or not len(pcm):
            return pcm
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm, np.float32)[None], format="flt", layout="mono")
        frame.sample_rate = self._sample_rate
        frame.time_base = Fraction(1, self._sample_rate)
        frame.pts = self._pushed
        self._pushed += len(pcm)
        self._graph.push(frame)
        return _ready(self._graph)

    def flush(self) -> Pcm:
        """The rest; nothing may be pushed afterwards."""
        if self._graph is None or not self._pushed:
            return np.zeros(0, np.float32)
        self._graph.push(None)
        return _ready(self._graph)


def _graph(factor: float, sample_rate: int) -> av.filter.Graph:
    # One atempo blends from 0.5 to 2 only: above that it drops samples, below that it refuses. Two share the factor.
    stages = [factor] if 0.5 <= factor <= 2.0 else [factor**0.5] * 2
    graph = av.filter.Graph()
    chain = [graph.add_abuffer(sample_rate=sample_rate, format="flt", layout="mono")]
    chain += [graph.add("atempo", repr(stage)) for stage in stages]
    chain.append(graph.add("abuffersink"))
    for before, after in itertools.pairwise(chain):
        before.link_to(after)
    graph.configure()
    return graph


def _ready(graph: av.filter.Graph) -> Pcm:
    frames = [np.zeros(0, np.float32)]
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return np.concatenate(frames)
        assert isinstance(frame, av.AudioFrame)
        frames.append(frame.to_ndarray()[0])
