"""Numbers about a recording of a voice."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.audio.pcm import Audio, Pcm
from serving.audio.voice_activity import SPEECH, WINDOW_S, speech_probabilities

FLOOR = 1e-10
"""Power of the last bit of 16: what is below counts as silence."""

PAUSE = 0.1
"""A window whose probability, and whose neighbours', is below this holds no speech at all."""

LEAST_PAUSE_S = 0.2
"""Less pause than this says nothing of the noise."""

FULL_SCALE = 0.999
FLAT = 1.5 / 32768
"""Samples so close to the highest one are equal to it."""

FLAT_SAMPLES = 3
"""So many equal samples in a row at the top of a wave are no wave: the top is cut off."""

AUDIBLE_DB = 65.0
"""Bands so far below the loudest one are taken for empty: 16 bits, resampled, leave less than that in empty bands."""

BAND_HZ = 250.0


@dataclass(frozen=True, slots=True)
class Measures:
    """One recording in numbers.

    ``speech_seconds`` are those in which somebody speaks; ``clipped_share`` of its samples are cut off; ``peak_dbfs``
    is its highest sample; ``loudness_lufs`` after ITU-R BS.1770, None where nothing is loud enough to be gated;
    ``bandwidth_hz`` is the highest frequency with sound.
    """

    seconds: float
    sample_rate: int
    speech_seconds: float
    snr_db: float
    clipped_share: float
    peak_dbfs: float
    loudness_lufs: float | None
    bandwidth_hz: float


def measure(audio: Audio) -> Measures:
    """Listen to ``audio``; takes about 10 ms per second of it."""
    probabilities = speech_probabilities(audio.pcm, audio.sample_rate)
    speech = float(np.count_nonzero(probabilities >= SPEECH)) * WINDOW_S
    return Measures(
        seconds=audio.seconds,
        sample_rate=audio.sample_rate,
        speech_seconds=min(speech, audio.seconds),
        snr_db=snr_db(audio, probabilities),
        clipped_share=clipped_share(audio.pcm),
        peak_dbfs=float(20 * np.log10(max(float(np.abs(audio.pcm).max(initial=0.0)), 1e-5))),
        loudness_lufs=loudness_lufs(audio),
        bandwidth_hz=bandwidth_hz(audio),
    )


def snr_db(audio: Audio, probabilities: npt.NDArray[np.float32]) -> float:
    """Estimate of speech over noise in dB, -10 to 80: the mean power of windows with speech, less that of the noise,
    over the median power of the pauses.

    ``probabilities`` [windows] are those of ``speech_probabilities``. Where there are no pauses the 5th and 95th
    percentiles of all windows stand for noise and speech, which says too little for noisy speech. Noise that is only
    there while somebody speaks, as behind a gate, is not seen.
    """
    powers = _powers(audio, len(probabilities))
    quiet = probabilities < PAUSE
    pauses = quiet.copy()
    pauses[1:] &= quiet[:-1]
    pauses[:-1] &= quiet[1:]
    spoken = probabilities >= SPEECH
    if np.count_nonzero(pauses) * WINDOW_S >= LEAST_PAUSE_S and spoken.any():
        noise, loud = float(np.median(powers[pauses])), float(powers[spoken].mean())
    else:
        noise, loud = map(float, np.percentile(powers, (5, 95)))
    noise = max(noise, FLOOR)
    return float(np.clip(10 * np.log10(max(loud - noise, FLOOR) / noise), -10.0, 80.0))


def clipped_share(pcm: Pcm) -> float:
    """Share of the samples at full scale, or in a flat top: three or more in a row equal to the highest or lowest.

    The second finds what was cut off first and made quieter afterwards.
    """
    if not len(pcm):
        return 0.0
    clipped = np.abs(pcm) >= FULL_SCALE
    for samples in (pcm, -pcm):
        top = float(samples.max())
        if top > 0.01:
            clipped |= _in_runs(samples >= top - FLAT)
    return float(clipped.mean())


def bandwidth_hz(audio: Audio) -> float:
    """The upper edge in Hz of the highest band of 250 Hz that is at most 65 dB below the loudest one."""
    size = 1 << int(np.ceil(np.log2(audio.sample_rate / BAND_HZ * 4)))
    pcm = audio.pcm if len(audio.pcm) >= size else np.pad(audio.pcm, (0, size - len(audio.pcm)))
    frames = np.lib.stride_tricks.sliding_window_view(pcm, size)[:: size // 2]
    power = np.zeros(size // 2 + 1)
    for frame in frames:  # one by one: all windowed at once are many times the recording
        power += np.square(np.abs(np.fft.rfft(frame * np.blackman(size))))
    bands = (np.fft.rfftfreq(size, 1 / audio.sample_rate) / BAND_HZ).astype(int)
    levels = 10 * np.log10(np.bincount(bands, power) + 1e-20)
    highest = int(np.flatnonzero(levels >= levels.max() - AUDIBLE_DB)[-1])
    return float(min((highest + 1) * BAND_HZ, audio.sample_rate / 2))


def loudness_lufs(audio: Audio) -> float | None:
    """Integrated loudness after ITU-R BS.1770-4; None for less than a block of 0.4 s, or nothing above -70 LUFS."""
    from pyloudnorm import Meter

    if audio.seconds < 0.41:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no blocks
        loudness = float(Meter(audio.sample_rate).integrated_loudness(audio.pcm.astype(np.float64)))
    return loudness if np.isfinite(loudness) else None


def _powers(audio: Audio, windows: int) -> npt.NDArray[np.float64]:
    """The mean power [windows] in each window of the voice activity, at the recording's own rate."""
    edges = np.minimum(np.round(np.arange(windows + 1) * WINDOW_S * audio.sample_rate).astype(int), len(audio.pcm))
    sums = np.concatenate([[0.0], np.cumsum(np.square(audio.pcm, dtype=np.float64))])
    powers: npt.NDArray[np.float64] = np.diff(sums[edges]) / np.maximum(np.diff(edges), 1)
    return powers


def _in_runs(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Those of ``flags`` [samples] that are in a row of at least ``FLAT_SAMPLES``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    runs = np.zeros(len(flags), np.bool_)
    for start, end in edges.reshape(-1, 2):
        if end - start >= FLAT_SAMPLES:
            runs[start:end] = True
    return runs
