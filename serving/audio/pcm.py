"""What audio is inside kubevoice: mono float32 samples and a rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Audio:
    """``pcm`` float32 [samples] in -1..1, mono, at ``sample_rate`` Hz."""

    pcm: Pcm
    sample_rate: int

    @property
    def seconds(self) -> float:
        return len(self.pcm) / self.sample_rate


def to_int16(pcm: Pcm) -> npt.NDArray[np.int16]:
    """int16 [samples]; what lies outside -1..1 is clipped, never wrapped."""
    scaled = np.rint(np.clip(pcm, -1.0, 1.0) * 32768.0)
    samples: npt.NDArray[np.int16] = np.minimum(scaled, 32767.0).astype(np.int16)
    return samples


def to_float32(samples: npt.NDArray[Any]) -> Pcm:
    """Integer or float samples of any width and shape as float32; full scale of an integer type becomes -1..1."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    half = float(2 ** (samples.dtype.itemsize * 8 - 1))
    offset = half if samples.dtype.kind == "u" else 0.0
    return ((samples.astype(np.float64) - offset) / half).astype(np.float32)
