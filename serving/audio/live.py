"""Audio that is decoded while it arrives, or while a file of any length is read: always in a thread of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from pathlib import Path

import numpy as np

from serving.audio.decode import DECLARING, truncated
from serving.audio.pcm import Audio, to_float32
from serving.audio.pipe import BytePipe
from serving.audio.reading import DAMAGE, HIGHEST_RATE, PIECE_S, AudioReader, Source, UnreadableError
from serving.errors import InvalidRequest, PayloadTooLarge

RAW = "audio/pcm"
RAW_RATE = 24000
"""Hz of ``audio/pcm`` without a ``rate``, as OpenAI's is."""

LOWEST_RATE = 4000
HEAD_BYTES = 4096
Pieces = Generator[Audio, None, None]


async def in_thread(pieces: Pieces, pipe: BytePipe | None = None) -> AsyncGenerator[Audio, None]:
    """``pieces``, made one by one in a thread; ``pipe``, from which they come, is closed at the end."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="decode")
    loop = asyncio.get_running_loop()
    try:
        while (piece := await loop.run_in_executor(pool, next, pieces, None)) is not None:
            yield piece
    finally:
        if pipe is not None:
            pipe.close()  # wakes the thread
        pool.submit(pieces.close)  # behind what it still does: ffmpeg must not be freed under it
        pool.shutdown(wait=False)


def file_pieces(path: Path, *, max_seconds: float, param: str) -> Pieces:
    """The audio of a file that ``check_file`` has found whole."""
    with path.open("rb") as file, AudioReader(file, max_seconds=max_seconds, param=param) as reader:
        yield from (piece for piece in reader if len(piece.pcm))


def raw_file_pieces(path: Path, rate: int, *, max_seconds: float, param: str) -> Pieces:
    """The audio of a file of signed 16-bit little-endian samples, mono at ``rate`` Hz."""
    with path.open("rb") as file:
        yield from _raw(file, f"{RAW}; rate={rate}", max_seconds, param)


def live_pieces(pipe: BytePipe, content_type: str, *, max_seconds: float, param: str) -> Pieces:
    """The audio of ``pipe`` as its bytes come. ``audio/pcm; rate=24000; channels=1`` is signed 16-bit little-endian.

    Raises InvalidRequest, at the start for what cannot be decoded before its end is there, and PayloadTooLarge after
    ``max_seconds``; both name ``param``. Raises the pipe's error.
    """
    if content_type.partition(";")[0].strip().lower() == RAW:
        return _raw(pipe, content_type, max_seconds, param)
    return _decoded(pipe, max_seconds, param)


def _raw(pipe: Source, content_type: str, max_seconds: float, param: str) -> Pieces:
    rate, channels = _number(content_type, "rate", RAW_RATE), _number(content_type, "channels", 1)
    if not LOWEST_RATE <= rate <= HIGHEST_RATE or not 1 <= channels <= 2:
        raise InvalidRequest(
            f"Content-Type {content_type[:80]!r} cannot be used; say audio/pcm; rate=24000; channels=1, with a rate of "
            f"{LOWEST_RATE} to {HIGHEST_RATE} and at most 2 channels",
            "Content-Type",
        )
    frame, samples, left = 2 * channels, 0, b""
    block = round(PIECE_S * rate) * frame
    while data := pipe.read(block):
        left += data
        whole, left = left[: len(left) // frame * frame], left[len(left) // frame * frame :]
        pcm = to_float32(np.frombuffer(whole, "<i2")).reshape(-1, channels).mean(axis=1, dtype=np.float32)
        samples += len(pcm)
        if samples > max_seconds * rate:
            raise PayloadTooLarge(f"{param} is longer than {max_seconds:g} seconds; send less", param)
        if len(pcm):
            yield Audio(pcm, rate)
    if left:
        raise InvalidRequest(f"{param} ends within a sample; send whole samples of {frame} bytes", param)
    if not samples:
        raise _empty(param)


def _number(content_type: str, name: str, default: int) -> int:
    message = Message()
    message["Content-Type"] = content_type
    value = message.get_param(name, str(default))
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}", value) else 0


def _decoded(pipe: BytePipe, max_seconds: float, param: str) -> Pieces:
    head = _head(pipe)
    if index_comes_last(head):
        raise InvalidRequest(
            f"{param} is an MP4 whose index comes after its audio, so it cannot be decoded while it arrives; send it "
            "as a form (multipart/form-data), or make it with ffmpeg -movflags +faststart",
            param,
        )
    samples = 0
    try:
        with AudioReader(_Joined(head, pipe), max_seconds=max_seconds, param=param, live=True) as reader:
            for piece in reader:
                samples += len(piece.pcm)
                if len(piece.pcm):
                    yield piece
            declared = reader.declared_seconds() if reader.container.format.name.split(",")[0] in DECLARING else 0.0
            torn = declared - reader.seconds > 0.1 + 0.01 * declared
    except (UnreadableError, *DAMAGE) as error:
        if pipe.error is not None:
            raise pipe.error from error
        raise (truncated(param) if samples else _unstreamable(param)) from error
    if torn:
        raise truncated(param)
    if not samples:
        raise _empty(param)


def _head(pipe: BytePipe) -> bytes:
    """Enough of the beginning to know an MP4, and of that enough to see its first boxes."""
    head, wanted = b"", 12
    while len(head) < wanted and (more := pipe.read(wanted - len(head))):
        head += more
        if head[4:8] == b"ftyp":
            wanted = HEAD_BYTES
    return head


def index_comes_last(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is an MP4 with its audio (``mdat``) before its index (``moov``)."""
    if head[4:8] != b"ftyp":
        return False
    position = 0
    while position + 8 <= len(head):
        size, kind = int.from_bytes(head[position : position + 4]), head[position + 4 : position + 8]
        if kind in (b"moov", b"mdat") or size < 8:
            return kind == b"mdat"
        position += size
    return False


class _Joined:
    """``head``, then the rest."""

    def __init__(self, head: bytes, rest: BytePipe) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int = -1, /) -> bytes:
        if not self._head:
            return self._rest.read(size)
        taken = self._head[:size] if size >= 0 else self._head
        self._head = self._head[len(taken) :]
        return taken


def _unstreamable(param: str) -> InvalidRequest:
    return InvalidRequest(
        f"{param} is not audio that can be decoded while it arrives; send wav, mp3, flac, ogg, opus, aac, webm or "
        "audio/pcm, or send the whole file as a form (multipart/form-data)",
        param,
    )


def _empty(param: str) -> InvalidRequest:
    return InvalidRequest(f"{param} has no audio in it; send a file with sound", param)
