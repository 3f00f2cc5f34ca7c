"""No converter, and why."""

from __future__ import annotations

from pathlib import Path

from serving.audio.pcm import Pcm
from serving.engines.conversion import ConversionOptions, ConversionVoice, ConversionVoiceFacts, VoiceConverter
from serving.engines.rvc.windows import Window
from serving.errors import KubevoiceError


class AbsentConverter(VoiceConverter):
    """Stands where conversion is switched off or lacks its weights: says ``reason`` to everyone."""

    def __init__(self, reason: KubevoiceError) -> None:
        self._reason = reason

    async def convert(self, window: Window, voice: ConversionVoice, options: ConversionOptions, seed: int) -> Pcm:
        raise self._error()

    async def ingest(self, weights: Path, index: Path | None, directory: Path) -> ConversionVoiceFacts:
        raise self._error()

    async def check(self) -> None:
        raise self._error()

    def _error(self) -> KubevoiceError:
        return type(self._reason)(*self._reason.args)  # one that was raised before would grow a trace for ever
