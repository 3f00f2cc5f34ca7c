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
    """Speaks ``factor`` times as fast, 0.25..4, at the same pitch and sample rate; holds back about 0.1 s of audio."""

    def __init__(self, factor: float, sample_rate: int) -> None:
        assert SLOWEST <= factor <= FASTEST, factor
        self._factor = factor
        self._sample_rate = sample_rate
        self._graph = None if factor == 1.0 else _graph(factor, sample_rate)
        self._pushed = self._fed = self._returned = 0

    def push(self, pcm: Pcm) -> Pcm:
        """The stretched samples that are ready after ``pcm`` [samples]."""
        if self._graph is None:
            return pcm
        self._pushed += len(pcm)
        ready = self._run(self._graph, pcm)
        self._returned += len(ready)
        return ready

    def flush(self) -> Pcm:
        """The rest, to a length of pushed / factor; nothing may be pushed afterwards."""
        if self._graph is None or not self._pushed:
            return np.zeros(0, np.float32)
        # atempo drops what fills no window at the end: silence after it lets the last of the sound out.
        rest = self._run(self._graph, np.zeros(self._sample_rate // 4, np.float32))
        self._graph.push(None)
        rest = np.concatenate([rest, _ready(self._graph)])
        return rest[: max(0, round(self._pushed / self._factor) - self._returned)]

    def _run(self, graph: av.filter.Graph, pcm: Pcm) -> Pcm:
        if len(pcm):
            graph.push(self._frame(pcm))
        return _ready(graph)

    def _frame(self, pcm: Pcm) -> av.AudioFrame:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm, np.float32)[None], format="flt", layout="mono")
        frame.sample_rate = self._sample_rate
        frame.time_base = Fraction(1, self._sample_rate)
        frame.pts = self._fed
        self._fed += len(pcm)
        return frame


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
