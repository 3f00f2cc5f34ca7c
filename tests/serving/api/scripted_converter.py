"""A converter that plays by the contract without a model: the voice is the input, quieter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from serving.audio.pcm import Pcm
from serving.audio.resample import resample
from serving.engines.conversion import ConversionOptions, ConversionVoice, ConversionVoiceFacts, VoiceConverter
from serving.engines.rvc.windows import CONTEXT, HOP, RATE, Window
from serving.errors import InvalidRequest

GAIN = 0.5
GOOD = b"a .pth file"
FACTS = ConversionVoiceFacts("v2", 40000, f0=True, speakers=2, index_vectors=0, notes=("it calls itself v1",))


class ScriptedConverter(VoiceConverter):
    """``failures`` are raised for windows by their index; windows behind the first wait for ``hold``."""

    def __init__(self) -> None:
        self.failures: dict[int, Exception] = {}
        self.hold: asyncio.Event | None = None
        self.asked: list[tuple[int, ConversionVoice, ConversionOptions, int]] = []
        self.running = self.cancelled = 0
        self.check_error: Exception | None = None
        self.ingest_hold: asyncio.Event | None = None
        self.facts = FACTS
        self.ingesting: list[Path] = []

    async def convert(self, window: Window, voice: ConversionVoice, options: ConversionOptions, seed: int) -> Pcm:
        self.asked.append((window.index, voice, options, seed))
        with self._running():
            if window.index in self.failures:
                raise self.failures[window.index]
            if self.hold is not None and window.index:
                await self.hold.wait()
            said = window.pcm[CONTEXT * HOP : CONTEXT * HOP + window.frames * HOP]
            wanted = window.frames * voice.sample_rate // 100
            pcm = resample(said, RATE, voice.sample_rate)[:wanted]
            return np.pad(pcm * np.float32(GAIN), (0, wanted - len(pcm)))

    async def ingest(self, weights: Path, index: Path | None, directory: Path) -> ConversionVoiceFacts:
        self.ingesting.append(directory)
        with self._running():
            if self.ingest_hold is not None:
                await self.ingest_hold.wait()
            await asyncio.to_thread(_write, weights, index, directory)
            return self.facts

    async def check(self) -> None:
        if self.check_error is not None:
            raise self.check_error

    @contextmanager
    def _running(self) -> Iterator[None]:
        self.running += 1
        try:
            yield
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


def _write(weights: Path, index: Path | None, directory: Path) -> None:
    assert not list(directory.iterdir()), "the contract promises an empty directory"
    if weights.read_bytes() != GOOD:
        raise InvalidRequest("file is no RVC model; send the .pth for inference", "file")
    if index is not None and index.read_bytes() != b"index":
        raise InvalidRequest("index is no faiss index; leave it out or send the right one", "index")
    (directory / "weights.safetensors").write_bytes(b"weights")
