"""WAV files by hand: what the volume holds and what a stream begins with."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serving.audio.pcm import Audio, Pcm, to_float32, to_int16
from serving.errors import EngineError

UNKNOWN_SIZE = 0xFFFFFFFF
_PCM, _FLOAT = 1, 3
_SAMPLE_TYPES = {(_PCM, 16): "<i2", (_FLOAT, 32): "<f4"}


def wav_header(sample_rate: int, data_size: int = UNKNOWN_SIZE) -> bytes:
    """The 44 bytes before mono PCM16 samples; without ``data_size`` that of a stream whose length is not known yet."""
    riff_size = UNKNOWN_SIZE if data_size == UNKNOWN_SIZE else 36 + data_size
    form = struct.pack("<HHIIHH", _PCM, 1, sample_rate, 2 * sample_rate, 2, 16)
    return struct.pack("<4sI4s4sI16s4sI", b"RIFF", riff_size, b"WAVE", b"fmt ", 16, form, b"data", data_size)


def wav_bytes(pcm: Pcm, sample_rate: int) -> bytes:
    """A complete mono PCM16 WAV file of ``pcm`` [samples], clipped to -1..1."""
    data = to_int16(pcm).astype("<i2").tobytes()
    return wav_header(sample_rate, len(data)) + data


def read_wav(path: Path) -> Audio:
    """A PCM16 or float32 WAV file from the volume, channels averaged.

    Raises EngineError naming the file when it is missing, torn or of another kind.
    """
    try:
        return _parse(path.read_bytes())
    except (OSError, ValueError, struct.error) as error:
        raise EngineError(f"cannot read the audio file {path}: {error}; restore it or delete its voice") from error


def _parse(data: bytes) -> Audio:
    form: bytes | None = None
    for name, start, size in riff_chunks(data):
        if name == b"fmt ":
            form = data[start : start + size]
        elif name == b"data":
            if form is None or start + size > len(data):
                raise ValueError("the WAV data is torn")
            return _samples(form, data[start : start + size])
    raise ValueError("not a WAV file with audio")


def _samples(form: bytes, raw: bytes) -> Audio:
    kind, channels, sample_rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if (kind, bits) not in _SAMPLE_TYPES or channels < 1 or sample_rate < 1:
        raise ValueError(f"WAV of kind {kind} with {channels} channels of {bits} bits at {sample_rate} Hz is not read")
    samples: npt.NDArray[np.generic] = np.frombuffer(raw, _SAMPLE_TYPES[kind, bits])
    return Audio(to_float32(samples).reshape(-1, channels).mean(axis=1, dtype=np.float32), sample_rate)


def riff_chunks(data: bytes | mmap.mmap) -> Iterator[tuple[bytes, int, int]]:
    """``(name, start, declared size)`` of the chunks of a WAV file; nothing when ``data`` is not one."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        yield name, position + 8, size
        position += 8 + size + size % 2
