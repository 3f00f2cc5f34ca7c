"""What encodes samples of one rate: LAME for mp3, ffmpeg for the other codecs, and raw samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import av
import lameenc
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer

from serving.audio.pcm import Pcm, to_int16


class Writer(Protocol):
    """Takes mono samples of one rate; what ``write`` and ``finish`` return, joined, is a whole file."""

    def write(self, pcm: Pcm) -> bytes: ...

    def finish(self) -> bytes: ...

    def close(self) -> None: ...


class Codec(Protocol):
    """A way to encode."""

    def open(self, sample_rate: int, bit_rate: int) -> Writer:
        """A writer at ``sample_rate`` Hz; ``bit_rate`` in bits per second, 0 for the codec's own."""


@dataclass(frozen=True, slots=True)
class Ffmpeg:
    """An ffmpeg encoder and its muxer; ``bit_rate`` in bits per second, 0 where it does not apply."""

    encoder: str
    muxer: str
    sample_format: str
    bit_rate: int = 0
    encoder_options: Mapping[str, str] = field(default_factory=dict)
    muxer_options: Mapping[str, str] = field(default_factory=dict)

    def open(self, sample_rate: int, bit_rate: int) -> Writer:
        return _FfmpegWriter(self, sample_rate, bit_rate)


@dataclass(frozen=True, slots=True)
class Lame:
    """LAME at a constant ``bit_rate`` (bits per second); ``quality`` from 0, slow and best, to 9.

    Not through ffmpeg: PyAV lets go of the interpreter's lock a dozen times for each 24 to 48 ms of audio, and beside a
    busy thread waits for it each time; this does once for a whole piece.
    """

    bit_rate: int
    quality: int

    def open(self, sample_rate: int, bit_rate: int) -> Writer:
        return _LameWriter(self, sample_rate, bit_rate)


class RawWriter:
    """Little-endian 16-bit samples behind ``header``."""

    def __init__(self, header: bytes) -> None:
        self._header = header

    def write(self, pcm: Pcm) -> bytes:
        return self.finish() + to_int16(pcm).astype("<i2").tobytes()

    def finish(self) -> bytes:
        header, self._header = self._header, b""
        return header

    def close(self) -> None:
        pass


class _LameWriter:
    def __init__(self, codec: Lame, sample_rate: int, bit_rate: int) -> None:
        self._lame = lameenc.Encoder()
        self._lame.silence()  # its own messages, on stdout
        self._lame.set_channels(1)
        self._lame.set_in_sample_rate(sample_rate)
        self._lame.set_out_sample_rate(sample_rate)  # else it takes a lower one for a low bit rate
        self._lame.set_bit_rate((bit_rate or _usual(codec.bit_rate, sample_rate)) // 1000)
        self._lame.set_quality(codec.quality)
        self._begun = False

    def write(self, pcm: Pcm) -> bytes:
        if not len(pcm):
            return b""
        self._begun = True
        return bytes(self._lame.encode(to_int16(pcm).astype("<i2").tobytes()))

    def finish(self) -> bytes:
        return bytes(self._lame.flush()) if self._begun else b""  # it raises where nothing was encoded

    def close(self) -> None:
        """Nothing to do: its memory is freed with it."""


class _FfmpegWriter:
    def __init__(self, codec: Ffmpeg, sample_rate: int, bit_rate: int) -> None:
        self._rate = sample_rate
        self._sink = _Sink()
        self._samples = 0
        self._container: OutputContainer = av.open(
            self._sink,
            mode="w",
            format=codec.muxer,
            # bitexact: the same audio gives the same bytes, without a random serial number and ffmpeg's version.
            container_options={"fflags": "+bitexact", **codec.muxer_options},
        )
        stream = self._container.add_stream(
            codec.encoder, rate=sample_rate, options=dict(codec.encoder_options), layout="mono"
        )
        assert isinstance(stream, AudioStream)
        self._stream = stream
        self._stream.format = codec.sample_format
        if codec.bit_rate:
            self._stream.bit_rate = bit_rate or _usual(codec.bit_rate, sample_rate)
        self._container.start_encoding()

    def write(self, pcm: Pcm) -> bytes:
        if len(pcm):
            self._container.mux(self._stream.encode(self._frame(pcm)))
        return self._sink.take()

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.take()

    def close(self) -> None:
        # The container and its streams hold each other: without this they would live until the garbage collector runs.
        self._container.close()

    def _frame(self, pcm: Pcm) -> av.AudioFrame:
        sample_format = self._stream.format.name
        samples = to_int16(pcm) if sample_format == "s16" else np.clip(pcm, -1.0, 1.0).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples[None], format=sample_format, layout="mono")
        frame.sample_rate = self._rate
        frame.time_base = Fraction(1, self._rate)
        frame.pts = self._samples
        self._samples += len(pcm)
        return frame


class _Sink:
    """A file that can only be written: muxers that see no seek keep nothing back to correct their headers later."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(data)
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def _usual(bit_rate: int, sample_rate: int) -> int:
    """A codec's own bit rate, or less: low sample rates have no room for more."""
    return min(bit_rate, 4 * sample_rate)
