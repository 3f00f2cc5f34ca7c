"""Streaming encoders: every piece of audio leaves as bytes as soon as its codec allows."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from serving.audio.pcm import Pcm
from serving.audio.resample import StreamResampler
from serving.audio.wav import wav_header
from serving.audio.writers import Codec, Ffmpeg, Lame, RawWriter, Writer
from serving.errors import EngineError

LIGHT_S = 1.0
"""Seconds of audio that LAME encodes in 2 to 4 ms."""

OUTPUT_RATE = 24000
"""Hz of speech, whatever the engine's rate is."""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """A format that clients may ask for; ``codec`` is None for raw samples, ``riff`` when a WAV header comes first.

    ``rates`` are the sample rates in Hz that its codec knows, rising; empty when it takes any.
    """

    name: str
    media_type: str
    codec: Codec | None = None
    riff: bool = False
    rates: tuple[int, ...] = ()

    def takes(self, rate: int) -> bool:
        """Whether audio of ``rate`` Hz can be in this format."""
        return not self.rates or rate in self.rates

    def nearest_rate(self, rate: int) -> int:
        """``rate`` where the format takes it, else the next higher one, so that nothing is lost."""
        if self.takes(rate):
            return rate
        return next((each for each in self.rates if each > rate), self.rates[-1])


# The cheap settings of lame and opus take half and a third of the time of ffmpeg's own, and at these rates what they
# lose of speech is hardly more (docs/performance.md). aac's fast coder distorts the lowest frequencies.
_MP3 = Lame(96_000, quality=7)
# ogg's own page of one second would hold back a second of audio. The duration is in microseconds.
_OPUS = Ffmpeg(
    "libopus", "ogg", "flt", 48_000, {"compression_level": "5", "vbr": "constrained"}, {"page_duration": "40000"}
)
_AAC = Ffmpeg("aac", "adts", "fltp", 96_000)
# Level 2 takes blocks of 24 ms instead of 96 ms; levinson is the better predictor of the levels above.
_FLAC = Ffmpeg(
    "flac", "flac", "s16", 0, {"compression_level": "2", "lpc_type": "levinson"}, {"metadata_header_padding": "0"}
)

_MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)

FORMATS: Mapping[str, AudioFormat] = MappingProxyType(
    {
        each.name: each
        for each in (
            AudioFormat("mp3", "audio/mpeg", _MP3, rates=_MPEG_RATES),
            AudioFormat("opus", "audio/ogg;codecs=opus", _OPUS, rates=_OPUS_RATES),
            AudioFormat("aac", "audio/aac", _AAC, rates=_MPEG_RATES),
            AudioFormat("flac", "audio/flac", _FLAC),
            AudioFormat("wav", "audio/wav", riff=True),
            AudioFormat("pcm", "audio/pcm"),
        )
    }
)

TELEPHONY: Mapping[str, AudioFormat] = MappingProxyType(
    {
        each.name: each
        for each in (
            AudioFormat("ulaw", "audio/basic", Ffmpeg("pcm_mulaw", "mulaw", "s16")),
            AudioFormat("alaw", "audio/x-alaw-basic", Ffmpeg("pcm_alaw", "alaw", "s16")),
        )
    }
)
"""G.711, 8 bits a sample without a header, as telephone exchanges take it."""


def format_named(name: str) -> AudioFormat:
    """The format of that name, which there is."""
    return FORMATS.get(name) or TELEPHONY[name]


class Encoder:
    """Encodes one stream to ``format`` (a key of FORMATS or TELEPHONY), mono at ``sample_rate`` Hz, which it takes.

    ``bit_rate`` (bits per second) is for codecs that have one; 0 takes the format's own.

    Audio waits at most for its codec's frame (100 ms or less, plus 50 ms when it has to be resampled). What ``encode``
    and ``finish`` return, joined, is a whole file; ``wav`` has the sizes of a stream of unknown length.
    """

    def __init__(self, format: str, sample_rate: int = OUTPUT_RATE, bit_rate: int = 0) -> None:  # noqa: A002
        self._spec = format_named(format)
        assert self._spec.takes(sample_rate), f"{format} at {sample_rate} Hz"
        self._writer: Writer | None = None  # opened with the first audio: that takes a codec some milliseconds
        self._closed = False
        self._output_rate = sample_rate
        self._bit_rate = bit_rate
        self._resampler: StreamResampler | None = None
        self._input_rate = 0
        # A cancelled request closes while its last encode still runs in a thread; freed under it, ffmpeg would crash.
        self._lock = threading.Lock()

    def is_light(self, chunk_pcm: Pcm, sample_rate: int) -> bool:
        """Whether ``encode`` of the same is too little for a thread, which under load waits longer for the GIL."""
        if self._spec.codec is None:
            return sample_rate == self._output_rate
        return isinstance(self._spec.codec, Lame) and len(chunk_pcm) <= LIGHT_S * sample_rate

    def encode(self, chunk_pcm: Pcm, sample_rate: int) -> bytes:
        """The bytes that are ready after ``chunk_pcm`` [samples]; ``sample_rate`` is the same for all of a stream.

        Raises EngineError when a sample is not a finite number.
        """
        if not np.isfinite(chunk_pcm).all():
            raise EngineError("the engine produced samples that are not numbers; try again or check the model")
        with self._lock:
            writer = self._opened()
            if self._resampler is None:
                self._resampler = StreamResampler(sample_rate, self._output_rate)
                self._input_rate = sample_rate
            assert sample_rate == self._input_rate, "the sample rate changed within a stream"
            return writer.write(self._resampler.push(chunk_pcm))

    def finish(self) -> bytes:
        """The last bytes; the encoder is closed afterwards."""
        with self._lock:
            writer = self._opened()
            tail = b"" if self._resampler is None else writer.write(self._resampler.flush())
            tail += writer.finish()
        self.close()
        return tail

    def close(self) -> None:
        """Free the native memory without finishing; may be called again, and while a thread still encodes."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
            self._writer = None
            self._resampler = None
            self._closed = True

    def _opened(self) -> Writer:
        assert not self._closed, "the encoder is closed"
        if self._writer is None:
            self._writer = (
                self._spec.codec.open(self._output_rate, self._bit_rate)
                if self._spec.codec
                else RawWriter(wav_header(self._output_rate) if self._spec.riff else b"")
            )
        return self._writer
