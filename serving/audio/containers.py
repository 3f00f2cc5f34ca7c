"""What ffmpeg does not tell about a file: whether all of it is there."""

from __future__ import annotations

import mmap
import re

from serving.audio.wav import riff_chunks

Bytes = bytes | mmap.mmap
"""A file's bytes, read or mapped."""

# kbit/s by the header's bitrate index, layer III: ISO 11172-3 and its low sampling frequencies, ISO 13818-3.
_MPEG1_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KBITS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MP3_RATES = (44100, 48000, 32000)
# Tools that write to a pipe leave the size open: 0, 0xFFFFFFFF, or a little under 2 or 4 GiB.
_OPEN_WAV_SIZE = 0x7FFFF000


def wav_is_torn(data: Bytes) -> bool:
    """Whether the data chunk of a WAV file declares more bytes than there are."""
    sizes = [(start, size) for name, start, size in riff_chunks(data) if name == b"data"]
    return any(start + size > len(data) and size < _OPEN_WAV_SIZE for start, size in sizes)


def ogg_is_torn(data: Bytes) -> bool:
    """Whether the last page of an Ogg file is incomplete (RFC 3533, section 6)."""
    page = data.rfind(b"OggS")
    if page < 0 or page + 27 > len(data):
        return True
    segments = data[page + 27 : page + 27 + data[page + 26]]
    return len(segments) < data[page + 26] or page + 27 + len(segments) + sum(segments) > len(data)


def mp3_frame_size(frame: bytes) -> int:
    """The bytes that the header of an MPEG layer III frame declares; 0 when it is no such header."""
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2:
        return 0
    version, bitrate, rate = frame[1] >> 3 & 3, frame[2] >> 4, frame[2] >> 2 & 3
    if version == 1 or rate == 3 or bitrate in (0, 15):
        return 0
    mpeg1 = version == 3
    kbits = (_MPEG1_KBITS if mpeg1 else _MPEG2_KBITS)[bitrate]
    sample_rate = _MP3_RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    return (144 if mpeg1 else 72) * kbits * 1000 // sample_rate + (frame[2] >> 1 & 1)


def mp3_declares_length(data: Bytes) -> bool:
    """Whether an MP3's first frame is a Xing, Info or VBRI header, which counts the frames that follow."""
    start = 0
    while data[start : start + 3] == b"ID3" and start + 10 <= len(data):
        size = data[start + 6 : start + 10]
        start += 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3])
    first = re.compile(rb"\xff[\xe2-\xff]").search(data, start, start + 4096)
    head = data[first.start() : first.start() + 64] if first else b""
    return any(tag in head for tag in (b"Xing", b"Info", b"VBRI"))
