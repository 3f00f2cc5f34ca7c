"""Look at audio from the outside: decode it with ffmpeg and measure it. Uses none of the code under test."""

from __future__ import annotations

import io

import av
import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.float32]


def decode_any(data: bytes) -> tuple[Pcm, int]:
    """The whole of an audio file: mono float32 [samples] and its sample rate."""
    pieces = [np.zeros(0, np.float32)]
    with av.open(io.BytesIO(data), mode="r") as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="flt", layout="mono", rate=stream.rate)
        for frame in container.decode(stream):
            pieces += [mono.to_ndarray()[0] for mono in resampler.resample(frame)]
        pieces += [mono.to_ndarray()[0] for mono in resampler.resample(None)]
        return np.concatenate(pieces), stream.rate


def duration_of(data: bytes) -> float:
    """Seconds of audio that decoding ``data`` gives."""
    pcm, rate = decode_any(data)
    return len(pcm) / rate


def rms(pcm: Pcm) -> float:
    """Root mean square of the samples; 0.0 for none."""
    return float(np.sqrt(np.mean(np.square(pcm, dtype=np.float64)))) if len(pcm) else 0.0


def peak(pcm: Pcm) -> float:
    """The largest absolute sample; 0.0 for none."""
    return float(np.max(np.abs(pcm))) if len(pcm) else 0.0


def is_silent(pcm: Pcm, threshold: float = 1e-3) -> bool:
    """Whether no sample is louder than ``threshold`` (-60 dBFS)."""
    return peak(pcm) <= threshold


def dominant_frequency(pcm: Pcm, sample_rate: int) -> float:
    """The frequency in Hz of the strongest partial, finer than the FFT's bins by a parabola through the peak."""
    spectrum = np.log(np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)))) + 1e-12)
    top = int(np.clip(np.argmax(spectrum), 1, len(spectrum) - 2))
    left, middle, right = spectrum[top - 1 : top + 2]
    shift = 0.5 * (left - right) / (left - 2 * middle + right)
    return float((top + shift) * sample_rate / len(pcm))


def tone(frequency: float, seconds: float, sample_rate: int, amplitude: float = 0.3) -> Pcm:
    """A sine, float32 [samples]."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def noise(seconds: float, sample_rate: int, amplitude: float = 0.1, seed: int = 0) -> Pcm:
    """White noise, float32 [samples], the same for the same ``seed``."""
    samples = np.random.default_rng(seed).uniform(-amplitude, amplitude, round(seconds * sample_rate))
    return samples.astype(np.float32)
