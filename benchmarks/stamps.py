"""Sound that says when it was made: the delay of every chunk, measured across processes of one machine."""

from __future__ import annotations

import time

import numpy as np

from serving.audio.pcm import Pcm, to_float32

TICKS_PER_S = 10_000
DIGIT = 1 << 14
"""A moment is two digits of this base, each a sample of 16 bits: it comes round every seven hours."""

SAMPLES = 2
BYTES = 2 * SAMPLES


def stamped(sound: Pcm) -> Pcm:
    """``sound`` [samples] whose first two are the present moment."""
    high, low = divmod(_ticks(), DIGIT)
    marked = sound.copy()
    marked[:SAMPLES] = to_float32(np.array([high, low], np.int16))
    return marked


def age_s(pcm: bytes | bytearray) -> float:
    """How long ago ``pcm``, of which the first four bytes are needed (16 bits, little-endian), was made."""
    high, low = (int(digit) for digit in np.frombuffer(pcm[:BYTES], "<i2"))
    return ((_ticks() - high * DIGIT - low) % DIGIT**2) / TICKS_PER_S


def _ticks() -> int:
    """The clock that all processes of a machine share."""
    return int(time.clock_gettime(time.CLOCK_MONOTONIC) * TICKS_PER_S) % DIGIT**2
