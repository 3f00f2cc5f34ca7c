"""The audio of an open file or pipe, piece by piece, by PyAV: memory and time follow what is read."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol, Self

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer

from serving.audio.containers import mp3_frame_size
from serving.audio.pcm import Audio, Pcm, to_float32
from serving.audio.resample import StreamResampler
from serving.errors import InvalidRequest, PayloadTooLarge

HIGHEST_RATE = 48000
PIECE_S = 0.1
"""Seconds of a piece: long enough that a recording is not ten thousand of them."""

_NATIVE_RATES = (4000, 384000)
# PyAV reads past a frame's planes when there are eight or more of them.
_MOST_CHANNELS = 6

# Left out are the containers that open other files (playlists, concat, image sequences), and those in which streams
# appear on the way (flv, mpegts), for which PyAV's demuxer reads outside its table of streams.
_CONTAINERS = "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,eac3,flac,matroska,mov,mp3,ogg,tta,w64,wav,wv"

# The demuxers of these two go back to what they have read.
_LIVE_CONTAINERS = ",".join(name for name in _CONTAINERS.split(",") if name not in ("ape", "wv"))

# What PyAV raises on bad bytes besides FFmpegError: times without a base, unknown sample formats and layouts.
DAMAGE = (av.FFmpegError, ArithmeticError, ValueError, RuntimeError, LookupError)

# ffmpeg would read 5 MB, or 5 s, before it gives the first sample.
_LIVE = {"probesize": "32768", "analyzeduration": "500000"}
_LIVE_BLOCK = 4096


class Source(Protocol):
    """What is read: a file, or a pipe whose ``read`` waits for bytes."""

    def read(self, size: int = -1, /) -> bytes: ...


class UnreadableError(Exception):
    """No container opens it; the caller knows what to say of it."""


class AudioReader:
    """Iterates over the first audio stream of ``source``, channels averaged, at its own sample rate up to 48 kHz.

    With ``live`` it gives the first samples after few bytes. Raises PayloadTooLarge as soon as ``max_seconds`` are
    passed, InvalidRequest for what a player would not play either, both naming ``param``; UnreadableError at the start
    for what does not open, and one of ``DAMAGE`` on the way for what is damaged.
    """

    def __init__(self, source: Source, *, max_seconds: float, param: str, live: bool = False) -> None:
        self._max_seconds, self._param = max_seconds, param
        self._rate = self._decoded = 0
        try:
            self.container = _open(source, live=live)
        except DAMAGE as error:
            raise UnreadableError(str(error)) from error
        if not self.container.streams.audio or self._stream.codec_context is None:
            self.container.close()
            raise UnreadableError("no audio stream")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the native memory."""
        self.container.close()

    @property
    def _stream(self) -> AudioStream:
        return self.container.streams.audio[0]

    def __iter__(self) -> Iterator[Audio]:
        pieces: list[Pcm] = []
        resampler, rate, ready = StreamResampler(1, 1), HIGHEST_RATE, 0
        for frame in self._frames():
            if not self._rate:
                self._rate = frame.sample_rate
                _check_rate(self._rate, self._param)
                rate = min(self._rate, HIGHEST_RATE)
                resampler = StreamResampler(self._rate, rate)
            mono = _mono(frame, self._rate, self._param)
            self._count(len(mono))
            pieces.append(resampler.push(mono))
            ready += len(pieces[-1])
            if ready >= PIECE_S * rate:
                yield _joined(pieces, rate)
                pieces, ready = [], 0
        pieces.append(resampler.flush())
        yield _joined(pieces, rate)

    def declared_seconds(self) -> float:
        """How long the file says that it is; 0 where it does not say so."""
        stream = self._stream
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        # The container's duration is that of its longest stream.
        if self.container.duration is None or len(self.container.streams) > 1:
            return 0.0
        return self.container.duration / av.time_base

    @property
    def seconds(self) -> float:
        """Decoded so far."""
        return self._decoded / (self._rate or 1)

    def _count(self, samples: int) -> None:
        self._decoded += samples
        if self._decoded > self._max_seconds * self._rate:
            limit = f"longer than {self._max_seconds:g} seconds; send a shorter file"
            raise PayloadTooLarge(f"{self._param} is {limit}", self._param)

    def _frames(self) -> Iterator[av.AudioFrame]:
        name = self.container.format.name
        mp3 = self._stream.codec_context.name.startswith("mp3") and name == "mp3"
        for packet in self.container.demux(self._stream):
            if mp3 and packet.size:
                size = mp3_frame_size(bytes(packet))
                if not size:
                    continue  # tags and other junk between frames, which every player skips
                if size > packet.size:
                    raise ValueError("the MP3 ends within a frame")
            # A WAV of open size ends like this too; wav_is_torn knows the difference.
            if packet.is_corrupt and name != "wav":
                raise ValueError("the container says that a packet is incomplete")
            yield from packet.decode()


def _open(source: Source, *, live: bool) -> InputContainer:
    options: dict[str, Any] = {"buffer_size": _LIVE_BLOCK} if live else {}
    container: InputContainer = av.open(
        source,
        mode="r",
        metadata_errors="replace",
        container_options={
            "format_whitelist": _LIVE_CONTAINERS if live else _CONTAINERS,
            "protocol_whitelist": "none",
            "codec_whitelist": _audio_decoders(),
            **(_LIVE if live else {}),
        },
        **options,
    )
    return container


@functools.cache
def _audio_decoders() -> str:
    # Probing would otherwise also run the video decoders of an upload, for nothing and at their risk.
    names = sorted(av.codecs_available)
    return ",".join(name for name in names if _is_audio_decoder(name))


def _is_audio_decoder(name: str) -> bool:
    try:
        return av.Codec(name, "r").type == "audio"
    except av.codec.codec.UnknownCodecError:
        return False


def _joined(pieces: list[Pcm], rate: int) -> Audio:
    return Audio(np.clip(np.concatenate(pieces), -1.0, 1.0), rate)


def _check_rate(sample_rate: int, param: str) -> None:
    low, high = _NATIVE_RATES
    if not low <= sample_rate <= high:
        allowed = f"send audio of {low} to {high} Hz"
        raise InvalidRequest(f"{param} has a sample rate of {sample_rate} Hz; {allowed}", param)


def _mono(frame: av.AudioFrame, sample_rate: int, param: str) -> Pcm:
    """A frame as float32 [samples], its channels averaged."""
    channels = frame.layout.nb_channels
    if not 1 <= channels <= _MOST_CHANNELS:
        raise InvalidRequest(f"{param} has {channels} channels; send a file with at most {_MOST_CHANNELS}", param)
    if frame.sample_rate != sample_rate:
        raise InvalidRequest(f"{param} changes its sample rate on the way; send a file of one rate", param)
    planes = to_float32(frame.to_ndarray())
    pcm = planes if frame.format.is_planar else planes.reshape(-1, channels).T
    if not np.isfinite(pcm).all():
        raise InvalidRequest(f"{param} has samples that are not numbers (NaN or infinity); export it again", param)
    mono: Pcm = pcm.mean(axis=0, dtype=np.float32)
    return mono
