"""Decode what people upload: any common container and codec, with limits, all of it there or refused."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from serving.audio.containers import Bytes, mp3_declares_length, ogg_is_torn, wav_is_torn
from serving.audio.pcm import Audio, Pcm
from serving.audio.reading import DAMAGE, HIGHEST_RATE, AudioReader, Source, UnreadableError
from serving.errors import InvalidRequest

# Those whose header says how long the audio is; the others' durations are ffmpeg's guess from the bit rate.
DECLARING = {"aiff", "au", "ape", "flac", "mov", "matroska", "tta", "wv"}


def decode(data: bytes, *, max_seconds: float, param: str) -> Audio:
    """The first audio stream of the file ``data``, channels averaged, at its own sample rate up to 48 kHz.

    Reads nothing but ``data`` and stops as soon as ``max_seconds`` is passed, so that memory and time follow the limit.
    Raises PayloadTooLarge for longer audio, InvalidRequest for what is not audio, truncated, damaged or empty;
    both name ``param``.
    """
    pieces: list[Pcm] = []
    rate = HIGHEST_RATE
    for piece in _whole(io.BytesIO(data), data, max_seconds=max_seconds, param=param):
        pieces.append(piece.pcm)
        rate = piece.sample_rate
    return Audio(np.concatenate(pieces), rate)


def check_file(path: Path, *, max_seconds: float, param: str) -> float:
    """Decode the file at ``path`` for its errors, which are those of ``decode``, and its length in seconds alone.

    Memory does not follow the length. Raises OSError when the file cannot be read.
    """
    return sum((piece.seconds for piece in read_file(path, max_seconds=max_seconds, param=param)), 0.0)


def read_file(path: Path, *, max_seconds: float, param: str) -> Iterator[Audio]:
    """The audio of the file at ``path`` piece by piece, so that memory does not follow the length.

    Raises the errors of ``decode``, some of them only behind the last piece, and OSError when the file cannot be read.
    """
    if not path.stat().st_size:
        raise _unreadable(param)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield from _whole(file, data, max_seconds=max_seconds, param=param)


def _whole(source: Source, data: Bytes, *, max_seconds: float, param: str) -> Iterator[Audio]:
    """The audio of a file whose bytes are all there, in pieces; raises at its end if they are not."""
    samples = 0
    try:
        reader = AudioReader(source, max_seconds=max_seconds, param=param)
    except UnreadableError as error:
        # The index of an MP4 is at its end, the first page of an Ogg file up to 64 kB long: cut, they do not even open.
        cut = error.__cause__ is not None and (data[:4] == b"OggS" or data[4:8] == b"ftyp")
        raise (truncated(param) if cut else _unreadable(param)) from error
    with reader:
        try:
            for piece in reader:
                samples += len(piece.pcm)
                yield piece
            whole = not _is_torn(reader, data)
        except DAMAGE as error:
            raise truncated(param) from error
    if not whole:
        raise truncated(param)
    if not samples:
        raise InvalidRequest(f"{param} has no audio in it; send a file with sound", param)


def _is_torn(reader: AudioReader, data: Bytes) -> bool:
    """Whether the file promises clearly more audio than it has."""
    name = reader.container.format.name.split(",")[0]
    if name == "wav":
        return wav_is_torn(data)
    if name == "ogg":
        return ogg_is_torn(data)
    if name not in DECLARING and not (name == "mp3" and mp3_declares_length(data)):
        return False
    declared = reader.declared_seconds()
    return declared - reader.seconds > 0.1 + 0.01 * declared


def _unreadable(param: str) -> InvalidRequest:
    kinds = "send a whole wav, mp3, flac, ogg, opus, m4a or webm file"
    return InvalidRequest(f"{param} is not audio that can be read; {kinds}", param)


def truncated(param: str) -> InvalidRequest:
    return InvalidRequest(f"{param} is truncated or damaged; send the whole file again", param)
