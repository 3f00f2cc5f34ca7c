"""Numbers about the sound of a clip."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from serving.audio.pcm import Pcm
from training.dataset.metadata import SAMPLE_RATE
from training.dataset.voice_activity import SPEECH, WINDOW_S
from training.dataset.waveform import Waveform

FRAME = round(0.02 * SAMPLE_RATE)
NEIGHBOURHOOD_S = 0.5
FLOOR = 1e-10
"""Power of the last bit of 16: what is below counts as silence."""

ENVELOPE = 48
"""Points of an envelope."""


def snr(waveform: Waveform, start: float, end: float) -> float:
    """Estimate of speech over noise in dB, from the levels of 20 ms frames of the clip and half a second around it.

    The 5th percentile stands for the noise of the pauses, the 95th for speech: too low for speech without pauses.
    """
    power = _powers(waveform.cut(start - NEIGHBOURHOOD_S, end + NEIGHBOURHOOD_S))
    noise, speech = np.percentile(power, (5, 95)) if len(power) else (FLOOR, FLOOR)
    return float(10 * np.log10(max(speech - noise, FLOOR) / max(noise, FLOOR)))


def speech_share(waveform: Waveform, start: float, end: float) -> float:
    """Share of the windows between two times in which somebody speaks."""
    windows = waveform.probabilities[int(start / WINDOW_S) : max(math.ceil(end / WINDOW_S), 1)]
    return float(np.mean(windows >= SPEECH)) if len(windows) else 0.0


def peak_db(pcm: Pcm) -> float:
    """The highest sample in dBFS, not below -100."""
    return float(20 * np.log10(max(float(np.abs(pcm).max(initial=0.0)), 1e-5)))


def envelope(pcm: Pcm) -> tuple[int, ...]:
    """The course of the level, dB in 48 steps: two encodings of one recording have nearly the same."""
    frames = np.array_split(pcm.astype(np.float64), ENVELOPE)
    return tuple(round(10 * math.log10(max(float(np.mean(np.square(frame))), FLOOR))) for frame in frames if len(frame))


def _powers(pcm: Pcm) -> npt.NDArray[np.float64]:
    frames = pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    powers: npt.NDArray[np.float64] = np.mean(np.square(frames), axis=1)
    return powers
