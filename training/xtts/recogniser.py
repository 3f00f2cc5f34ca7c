"""Speech recognition for the evaluation, by faster-whisper with weights from the volume."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

from serving.audio.pcm import Audio
from serving.audio.resample import resample

SAMPLE_RATE = 16000
NEEDED = ("model.bin", "config.json", "tokenizer.json")
"""Without tokenizer.json faster-whisper would go and download one."""

logger = logging.getLogger(__name__)


class Recogniser:
    """A Whisper model of CTranslate2's format. It runs on the CPU: the GPU's memory is the training's."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @classmethod
    def find(cls, directory: Path) -> Recogniser | None:
        """The model in ``directory`` (``models/asr/<name>``); None, with a line in the log, where it cannot be had."""
        for name in NEEDED:
            if not (directory / name).is_file():
                logger.info("samples are not transcribed: %s is missing", directory / name)
                return None
        if importlib.util.find_spec("faster_whisper") is None:
            logger.warning("samples are not transcribed: install kubevoice[transcription]")
            return None
        from faster_whisper import WhisperModel

        try:
            return cls(WhisperModel(str(directory), device="cpu", compute_type="int8", local_files_only=True))
        except Exception as error:  # noqa: BLE001 - CTranslate2 and tokenizers raise anything
            logger.warning("samples are not transcribed: %s cannot be used: %s", directory, error)
            return None

    def transcribe(self, audio: Audio, language: str) -> str:
        """What ``audio`` says, as far as the model can tell; the same each time."""
        if not len(audio.pcm):
            return ""
        pcm = resample(audio.pcm, audio.sample_rate, SAMPLE_RATE)
        options = {"language": language.partition("-")[0], "temperature": 0.0, "condition_on_previous_text": False}
        segments, _ = self._model.transcribe(pcm, beam_size=5, **options)
        return " ".join(segment.text.strip() for segment in segments)
