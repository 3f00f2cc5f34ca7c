"""Loudness of a clip by ITU-R BS.1770, and the gain that sets it."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from serving.audio.pcm import Pcm
from training.dataset.metadata import SAMPLE_RATE

BLOCK_S = 0.4
"""The standard measures in blocks of this length; a shorter clip is repeated to fill one."""

HIGHEST_PEAK = 10 ** (-1 / 20)
"""-1 dBFS."""

QUIETEST = -70.0
"""LUFS: the standard's own gate, below which there is nothing to measure."""


def loudness(pcm: Pcm) -> float:
    """Integrated loudness of ``pcm`` [samples] at 22,050 Hz in LUFS; -70 for silence."""
    if not len(pcm):
        return QUIETEST
    block = math.ceil(BLOCK_S * SAMPLE_RATE) + 1
    measured = float(_meter().integrated_loudness(np.resize(pcm, max(len(pcm), block)).astype(np.float64)))
    return max(measured, QUIETEST)


@functools.cache
def _meter() -> Any:
    import pyloudnorm

    return pyloudnorm.Meter(SAMPLE_RATE)


def normalised(pcm: Pcm, before: float, target: float) -> Pcm:
    """``pcm`` of loudness ``before`` at ``target`` LUFS, or as near to it as peaks of -1 dBFS allow."""
    gain = 10 ** ((target - before) / 20)
    peak = float(np.abs(pcm).max(initial=0.0))
    scaled: Pcm = (pcm * min(gain, HIGHEST_PEAK / max(peak, 1e-9))).astype(np.float32)
    return scaled
