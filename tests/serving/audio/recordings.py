"""Files of every kind, and how they are read or refused."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from serving.audio.decode import decode
from serving.audio.pcm import Audio, Pcm
from serving.errors import RequestError
from tests.audio_measure import tone

# container, codec, sample rate
KINDS = {
    "mp3": ("mp3", "libmp3lame", 44100),
    "wav": ("wav", "pcm_s16le", 22050),
    "wav-u8": ("wav", "pcm_u8", 22050),
    "wav-s24": ("wav", "pcm_s24le", 48000),
    "wav-float": ("wav", "pcm_f32le", 44100),
    "wav-mulaw": ("wav", "pcm_mulaw", 8000),
    "flac": ("flac", "flac", 44100),
    "opus": ("ogg", "libopus", 48000),
    "aac": ("adts", "aac", 44100),
    "m4a": ("mp4", "aac", 44100),
    "alac": ("mp4", "alac", 44100),
    "webm": ("webm", "libopus", 48000),
    "mka": ("matroska", "flac", 44100),
    "aiff": ("aiff", "pcm_s16be", 44100),
    "caf": ("caf", "pcm_s16le", 44100),
    "wavpack": ("wv", "wavpack", 44100),
    "avi": ("avi", "libmp3lame", 44100),
}


def written(kind: str, pcm: Pcm, layout: str = "mono", rate: int = 0) -> bytes:
    """``pcm`` [channels, samples] or [samples] as a file with its sizes filled in."""
    muxer, codec, default_rate = KINDS[kind]
    out, rate = io.BytesIO(), rate or default_rate
    container = av.open(out, "w", format=muxer)
    stream = container.add_stream(codec, rate=rate, layout=layout)
    assert isinstance(stream, AudioStream)
    interleaved = np.ascontiguousarray(np.atleast_2d(pcm).T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
    container.close()
    return out.getvalue()


def spoken(kind: str, seconds: float = 2.0) -> bytes:
    return written(kind, tone(440, seconds, KINDS[kind][2]))


def film(with_sound: bool) -> bytes:
    out = io.BytesIO()
    container = av.open(out, "w", format="matroska")
    video = container.add_stream("mpeg4", rate=10)
    assert isinstance(video, VideoStream)
    video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
    sound = container.add_stream("flac", rate=24000, layout="mono") if with_sound else None
    for _ in range(20):
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
    container.mux(video.encode(None))
    if isinstance(sound, AudioStream):
        samples = (tone(440, 1.0, 24000) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 24000, Fraction(1, 24000), 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    container.close()
    return out.getvalue()


def form(kind: int = 1, channels: int = 1, rate: int = 24000, align: int = 2, bits: int = 16) -> bytes:
    return struct.pack("<HHIIHH", kind, channels, rate, rate * align & 0xFFFFFFFF, align, bits)


def wav_of(fmt: bytes, data: bytes, before: bytes = b"") -> bytes:
    body = b"WAVE" + before + b"fmt \x10\0\0\0" + fmt + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def read(data: bytes, max_seconds: float = 60.0) -> Audio:
    return decode(data, max_seconds=max_seconds, param="file")


def refusal(data: bytes, max_seconds: float = 60.0) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(data, max_seconds)
    assert caught.value.param == "file"
    assert caught.value.message.startswith("file ")
    return caught.value
