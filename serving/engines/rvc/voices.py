"""Voices in memory: as many as a budget of bytes holds, the least recently used leave first."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch

from serving.engines.conversion import ConversionVoice, ConversionVoiceFacts
from serving.engines.hifigan import Precision
from serving.engines.rvc.checkpoint import WEIGHTS, RvcCheckpoint
from serving.engines.rvc.retrieval import Retrieval, check_width
from serving.engines.rvc.retrieval import convert as convert_index
from serving.engines.rvc.synthesizer import Synthesizer
from serving.engines.rvc.upload import read_upload

logger = logging.getLogger(__name__)

INDEX = "index.safetensors"


@dataclass(frozen=True, slots=True)
class LoadedVoice:
    """A voice ready to compute with; nothing in it ever changes."""

    synthesizer: Synthesizer
    retrieval: Retrieval | None

    @property
    def nbytes(self) -> int:
        own: int = self.synthesizer.nbytes
        return own + (self.retrieval.nbytes if self.retrieval else 0)

    @classmethod
    def load(cls, directory: Path, device: torch.device, precision: Precision) -> LoadedVoice:
        """Raises ModelFilesError naming the file that is missing or torn."""
        synthesizer = Synthesizer(RvcCheckpoint.load(directory), device, precision)
        index = directory / INDEX
        return cls(synthesizer, Retrieval.load(index, device) if index.is_file() else None)


@dataclass(slots=True)
class _Held:
    voice: LoadedVoice
    used_at: float


class VoiceCache:
    """Only the thread that owns the device takes voices out of it; any thread may have it forget deleted ones."""

    def __init__(self, device: torch.device, precision: Precision, budget: int) -> None:
        self._device = device
        self._precision = precision
        self._budget = budget
        self._voices: OrderedDict[Path, _Held] = OrderedDict()
        self._lock = threading.Lock()
        self.nbytes = 0
        self.loads = 0
        """How often a voice has been read, for statistics."""

    def __len__(self) -> int:
        return len(self._voices)

    def get(self, voice: ConversionVoice) -> LoadedVoice:
        """``voice`` in memory. One that is larger than the budget is kept alone."""
        with self._lock:
            held = self._voices.get(voice.directory)
        loaded = LoadedVoice.load(voice.directory, self._device, self._precision) if held is None else held.voice
        with self._lock:
            if voice.directory not in self._voices:
                self.nbytes += loaded.nbytes
            self.loads += held is None
            self._voices[voice.directory] = _Held(loaded, time.monotonic())
            self._voices.move_to_end(voice.directory)
            while self.nbytes > self._budget and len(self._voices) > 1:
                self._drop(next(iter(self._voices)))
        return loaded

    def forget_deleted(self, idle_s: float) -> None:
        """Drop voices whose files are gone and that nobody has used for ``idle_s`` seconds: a recording may go on.

        Asks the volume, so not on an event loop. Raises OSError where that does not answer.
        """
        with self._lock:
            held = list(self._voices)
        gone = [directory for directory in held if not (directory / WEIGHTS).exists()]
        with self._lock:
            for directory in gone:
                if directory in self._voices and time.monotonic() - self._voices[directory].used_at >= idle_s:
                    self._drop(directory)

    def _drop(self, directory: Path) -> None:
        self.nbytes -= self._voices.pop(directory).voice.nbytes
        logger.info("voice %s leaves memory", directory.parent.name)


def ingest(weights: Path, index: Path | None, directory: Path) -> ConversionVoiceFacts:
    """Check an upload and write weights.safetensors and, for an index, index.safetensors to the empty ``directory``.

    Raises InvalidRequest or PayloadTooLarge (``file`` or ``index``), StorageError; ``directory`` is empty then.
    """
    checkpoint = read_upload(weights)
    config, vectors = checkpoint.config, 0
    try:
        checkpoint.save(directory)
        if index is not None:
            vectors, width = convert_index(index, directory / INDEX, half=True)
            check_width(width, config.features)
    except BaseException:
        for name in (WEIGHTS, INDEX):
            (directory / name).unlink(missing_ok=True)
        raise
    return ConversionVoiceFacts(
        config.version, config.sample_rate, config.f0, config.speakers, vectors, checkpoint.notes
    )
