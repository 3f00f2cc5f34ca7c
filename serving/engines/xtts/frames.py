"""Which latents each vocoder frame is made of, and which frames the vocoder takes at a time.

The decoder makes one latent per audio token; the vocoder's frames are linear interpolations between latents. Counted
from the start of the utterance, a frame is the same whether the utterance is finished or not and wherever it is cut,
so streamed audio equals audio made in one go. Frames and latents are counted from 0; ranges exclude their end.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONTEXT = 13
"""Frames on each side of a frame that its samples depend on: the receptive field of XTTS v2's vocoder."""

MIN_SPEED = 0.05

Index = NDArray[np.int64]
Weight = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Interpolation:
    """``torch.nn.functional.interpolate(scale_factor=scale, mode="linear")`` along one axis, to the last bit of its
    source positions, which are float32: 2,000 positions in, that is a matter of 1e-4.

    Where the number of outputs equals that of the inputs torch copies instead. That is left out: whether it applies
    is known only at the end. It concerns speeds from 0.95 to 1 in short utterances, and utterances of two latents.
    """

    scale: float

    def size(self, inputs: int) -> int:
        """Outputs made of that many inputs."""
        return math.floor(inputs * self.scale)

    def ready(self, inputs: int) -> int:
        """The outputs that any further inputs leave as they are."""
        count = max(0, math.ceil((inputs - 0.5) * self.scale - 0.5))
        while self._source(np.int64(count)) <= inputs - 1:
            count += 1
        while count and self._source(np.int64(count - 1)) > inputs - 1:
            count -= 1
        return min(count, self.size(inputs))

    def taps(self, outputs: Index, inputs: int) -> tuple[Index, Weight]:
        """(inputs, their weights) of ``outputs`` [...], each [..., 2]."""
        source = self._source(outputs)
        low = np.minimum(source.astype(np.int64), inputs - 1)
        share = np.clip(source - low.astype(np.float32), 0, 1)
        return np.stack([low, np.minimum(low + 1, inputs - 1)], -1), np.stack([1 - share, share], -1)

    def _source(self, outputs: Index | np.int64) -> Weight:
        """torch rounds to float32 once, after a fused multiply-add of the float32 rate."""
        rate = float(np.float32(1 / self.scale))
        return np.maximum(rate * (outputs + 0.5) - 0.5, 0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class FrameGrid:
    """The interpolations from latents to frames in coqui's order: the speed, latents to hops, and the sample rate."""

    stages: tuple[Interpolation, ...]

    @classmethod
    def of(cls, model_args: Any, speed: float = 1.0) -> FrameGrid:
        """The grid of coqui's ``config.model_args`` at ``speed`` (2 is twice as fast, with the pitch kept)."""
        scales = [
            1 / max(speed, MIN_SPEED),
            model_args.gpt_code_stride_len / model_args.output_hop_length,
            model_args.output_sample_rate / model_args.input_sample_rate,
        ]
        return cls(tuple(Interpolation(scale) for scale in scales if scale != 1))

    def total(self, latents: int) -> int:
        """Frames of a finished utterance of that many latents."""
        return self._sizes(latents)[-1]

    def ready(self, latents: int) -> int:
        """The frames that are final while more latents may follow; the next one is not, or may never be."""
        return _ready(self, latents)

    def taps(self, first: int, last: int, latents: int) -> tuple[Index, Weight]:
        """Frames ``first`` to ``last`` as weighted sums of the ``latents`` there are: (indices, weights).

        Both are [last - first, 2 ** stages]. The frames must be final, or the utterance finished.
        """
        assert 0 <= first <= last <= self.total(latents)
        index = np.arange(first, last)[:, None]
        weight = np.ones((last - first, 1), np.float32)
        for stage, inputs in zip(reversed(self.stages), self._sizes(latents)[-2::-1], strict=True):
            index, share = stage.taps(index, inputs)
            index = index.reshape(len(index), 2 * weight.shape[1])
            weight = (weight[..., None] * share).reshape(index.shape)
        return index, weight

    def _sizes(self, latents: int) -> list[int]:
        """The length before the first stage and after each."""
        sizes = [latents]
        for stage in self.stages:
            sizes.append(stage.size(sizes[-1]))
        return sizes


@functools.lru_cache(maxsize=8192)
def _ready(grid: FrameGrid, latents: int) -> int:
    """Asked in every turn, of every sentence: some hundred numbers for each speed."""
    count = latents
    for stage in grid.stages:
        count = stage.ready(count)
    return count


@dataclass(frozen=True, slots=True)
class Window:
    """Frames [start, stop) go into the vocoder, the audio of [first, last) comes out; the others are context.

    It is a plain slice of the utterance, so windows of several utterances can share a batch if ``length`` is the same.
    """

    start: int
    stop: int
    first: int
    last: int

    @property
    def length(self) -> int:
        return self.stop - self.start

    def samples(self, hop: int) -> slice:
        """Where the audio of [first, last) lies in the vocoder's output, at ``hop`` samples per frame."""
        return slice((self.first - self.start) * hop, (self.last - self.start) * hop)


def plan(
    emitted: int,
    available: int,
    *,
    finished: bool,
    max_frames: int,
    least: int = 1,
    bucket: int = 1,
    context: int = CONTEXT,
) -> Window | None:
    """The next window of an utterance whose first ``emitted`` frames are spoken; None if there is nothing to do yet.

    ``available`` frames exist: ``FrameGrid.total`` of a ``finished`` utterance, else ``FrameGrid.ready``. A window has
    at most ``max_frames`` and speaks ``least`` or more, unless it is one of the last. Its length is a multiple of
    ``bucket``, so that windows meet in batches: more context to the left does no harm. Near the start of the utterance
    there is none, and frames are left for the next window instead; only a whole short utterance has another length.
    """
    assert max_frames > 2 * context
    assert max_frames % bucket == 0
    least = 1 if finished else max(1, min(least, max_frames - 2 * context))
    start = max(0, emitted - context)
    stop = min(available, start + max_frames)
    ends = finished and stop == available
    start = max(0, stop - math.ceil((stop - start) / bucket) * bucket)
    spare = 0 if ends else (stop - start) % bucket
    if stop - spare - context - emitted >= least:
        stop -= spare
    last = stop if ends else stop - context
    return Window(start, stop, emitted, last) if last - emitted >= least else None
