"""Decode what people upload: any common container and codec, with limits, by PyAV."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer

from serving.audio.containers import mp3_declares_length, mp3_frame_size, ogg_is_torn, wav_is_torn
from serving.audio.pcm import Audio, Pcm, to_float32
from serving.audio.resample import StreamResampler
from serving.errors import InvalidRequest, PayloadTooLarge

HIGHEST_RATE = 48000
_NATIVE_RATES = (4000, 384000)
# PyAV reads past a frame's planes when there are eight or more of them.
_MOST_CHANNELS = 6

# Left out are the containers that open other files (playlists, concat, image sequences), and those in which streams
# appear on the way (flv, mpegts), for which PyAV's demuxer reads outside its table of streams.
_CONTAINERS = "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,eac3,flac,matroska,mov,mp3,ogg,tta,w64,wav,wv"
# Those whose header says how long the audio is; the others' durations are ffmpeg's guess from the bit rate.
_DECLARING = {"aiff", "au", "ape", "flac", "mov", "matroska", "tta", "wv"}

# What PyAV raises on bad bytes besides FFmpegError: times without a base, unknown sample formats and layouts.
_DAMAGE = (av.FFmpegError, ArithmeticError, ValueError, RuntimeError, LookupError)


def decode(data: bytes, *, max_seconds: float, param: str) -> Audio:
    """The first audio stream of the file ``data``, channels averaged, at its own sample rate up to 48 kHz.

    Reads nothing but ``data`` and stops as soon as ``max_seconds`` is passed, so that memory and time follow the limit.
    Raises PayloadTooLarge for longer audio, InvalidRequest for what is not audio, truncated, damaged or empty;
    both name ``param``.
    """
    try:
        container = _open(data)
    except _DAMAGE as error:
        # The index of an MP4 is at its end, the first page of an Ogg file up to 64 kB long: cut, they do not even open.
        cut = data[:4] == b"OggS" or data[4:8] == b"ftyp"
        raise (_truncated(param) if cut else _unreadable(param)) from error
    with container:
        if not container.streams.audio or container.streams.audio[0].codec_context is None:
            raise _unreadable(param)
        try:
            audio, native_seconds = _read(container, max_seconds, param)
            whole = not _is_torn(container, data, native_seconds)
        except _DAMAGE as error:
            raise _truncated(param) from error
    if not whole:
        raise _truncated(param)
    if not len(audio.pcm):
        raise InvalidRequest(f"{param} has no audio in it; send a file with sound", param)
    return audio


def _open(data: bytes) -> InputContainer:
    return av.open(
        io.BytesIO(data),
        mode="r",
        metadata_errors="replace",
        container_options={
            "format_whitelist": _CONTAINERS,
            "protocol_whitelist": "none",
            "codec_whitelist": _audio_decoders(),
        },
    )


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


def _read(container: InputContainer, max_seconds: float, param: str) -> tuple[Audio, float]:
    """The audio and how many seconds were decoded before resampling."""
    stream = container.streams.audio[0]
    pieces: list[Pcm] = []
    native_rate, decoded, resampler = 0, 0, StreamResampler(1, 1)
    for frame in _frames(container, stream):
        if not native_rate:
            native_rate = frame.sample_rate
            _check_rate(native_rate, param)
            resampler = StreamResampler(native_rate, min(native_rate, HIGHEST_RATE))
        mono = _mono(frame, native_rate, param)
        decoded += len(mono)
        if decoded > max_seconds * native_rate:
            limit = f"longer than {max_seconds:g} seconds; send a shorter file"
            raise PayloadTooLarge(f"{param} is {limit}", param)
        pieces.append(resampler.push(mono))
    pieces.append(resampler.flush())
    pcm = np.clip(np.concatenate(pieces), -1.0, 1.0)
    return Audio(pcm, min(native_rate, HIGHEST_RATE) or HIGHEST_RATE), decoded / (native_rate or 1)


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[av.AudioFrame]:
    mp3 = stream.codec_context.name.startswith("mp3") and container.format.name == "mp3"
    for packet in container.demux(stream):
        if mp3 and packet.size:
            size = mp3_frame_size(bytes(packet))
            if not size:
                continue  # tags and other junk between frames, which every player skips
            if size > packet.size:
                raise ValueError("the MP3 ends within a frame")
        # A WAV of open size ends like this too; wav_is_torn knows the difference.
        if packet.is_corrupt and container.format.name != "wav":
            raise ValueError("the container says that a packet is incomplete")
        yield from packet.decode()


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


def _is_torn(container: InputContainer, data: bytes, decoded_seconds: float) -> bool:
    """Whether the file promises clearly more audio than it has."""
    name = container.format.name.split(",")[0]
    if name == "wav":
        return wav_is_torn(data)
    if name == "ogg":
        return ogg_is_torn(data)
    if name not in _DECLARING and not (name == "mp3" and mp3_declares_length(data)):
        return False
    declared = _declared_seconds(container)
    return declared - decoded_seconds > 0.1 + 0.01 * declared


def _declared_seconds(container: InputContainer) -> float:
    stream = container.streams.audio[0]
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # The container's duration is that of its longest stream.
    if container.duration is None or len(container.streams) > 1:
        return 0.0
    return container.duration / av.time_base


def _unreadable(param: str) -> InvalidRequest:
    kinds = "send a whole wav, mp3, flac, ogg, opus, m4a or webm file"
    return InvalidRequest(f"{param} is not audio that can be read; {kinds}", param)


def _truncated(param: str) -> InvalidRequest:
    return InvalidRequest(f"{param} is truncated or damaged; send the whole file again", param)
