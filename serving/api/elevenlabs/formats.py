"""``output_format``: a codec, its rate and, where it has one, its bit rate: ``mp3_44100_128``, ``pcm_16000``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

from fastapi import Query

from serving.audio.encode import format_named
from serving.errors import InvalidRequest

DEFAULT = "mp3_44100_128"
HIGHEST_OPUS = 48_000
"""Hz; what opus files say whatever they hold."""


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """``codec`` is a name of ``serving.audio.encode``; ``sample_rate`` in Hz, ``bit_rate`` in bits per second or 0."""

    codec: str
    sample_rate: int
    bit_rate: int = 0

    @property
    def media_type(self) -> str:
        plain = format_named(self.codec).media_type
        return f"{plain};rate={self.sample_rate}" if self.codec in {"pcm", "ulaw", "alaw"} else plain


def _all() -> dict[str, OutputFormat]:
    compressed: dict[str, dict[int, tuple[int, ...]]] = {
        "mp3": {22050: (32,), 24000: (48,), 44100: (32, 64, 96, 128, 192)},
        "opus": {HIGHEST_OPUS: (32, 64, 96, 128, 192)},
    }
    formats = {
        f"{codec}_{rate}_{kbits}": OutputFormat(codec, rate, kbits * 1000)
        for codec, rates in compressed.items()
        for rate, bit_rates in rates.items()
        for kbits in bit_rates
    }
    for rate in (8000, 16000, 22050, 24000, 32000, 44100, 48000):
        formats[f"pcm_{rate}"] = OutputFormat("pcm", rate)
        formats[f"wav_{rate}"] = OutputFormat("wav", rate)
    return {**formats, "ulaw_8000": OutputFormat("ulaw", 8000), "alaw_8000": OutputFormat("alaw", 8000)}


OUTPUT_FORMATS: Mapping[str, OutputFormat] = MappingProxyType(_all())

OutputFormatName = Annotated[
    str,
    Query(
        description="Codec, rate in Hz and, for mp3 and opus, kbit/s; pcm is signed 16-bit little-endian. All are mono",
        json_schema_extra={"enum": list(OUTPUT_FORMATS)},
    ),
]


def chosen_format(name: str) -> OutputFormat:
    """Raises InvalidRequest that names the field."""
    if name not in OUTPUT_FORMATS:
        known = ", ".join(OUTPUT_FORMATS)
        raise InvalidRequest(f"output_format {name[:40]!r} is not known; take one of {known}", "output_format")
    return OUTPUT_FORMATS[name]
