"""What is said in a recording, by faster-whisper from weights on the volume. An extra: nothing else needs it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from serving.audio.pcm import Pcm
from serving.audio.resample import resample
from serving.errors import ConfigurationError, ModelFilesError
from serving.store.volume import Volume
from training.dataset import voice_activity
from training.dataset.metadata import SAMPLE_RATE
from training.dataset.segments import Segment, sentences
from training.dataset.voice_activity import blocks
from training.dataset.waveform import Waveform

NEEDED = ("model.bin", "config.json", "tokenizer.json")
"""Without tokenizer.json faster-whisper would go and download one."""

WINDOW_S = 28.0
"""Whisper hears 30 s at a time; the audio is cut at pauses before it gets there, so no word falls between two."""

LONGEST_SENTENCE_S = 11.0


class Transcriber:
    """Whisper in the directory ``path``, on a GPU where there is one."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        """Raises ConfigurationError without the package, ModelFilesError for weights that are missing or torn."""
        if importlib.util.find_spec("faster_whisper") is None:
            raise ConfigurationError(
                "transcribing needs the extra: pip install 'kubevoice[transcription]'. Without it, bring transcripts "
                "(metadata.csv, .srt, .vtt or .txt) and set transcribe to false",
                "transcribe",
            )
        for name in NEEDED:
            if not (path / name).is_file():
                raise ModelFilesError(
                    f"{path / name} is missing: put a Whisper model in CTranslate2's format there, for instance "
                    "Systran/faster-whisper-small from Hugging Face. Without it, bring transcripts (metadata.csv, "
                    ".srt, .vtt or .txt) and set transcribe to false"
                )
        from faster_whisper import WhisperModel

        self.identity = f"{path.name} {(path / 'model.bin').stat().st_size}"
        try:
            self._model: Any = WhisperModel(str(path), local_files_only=True, cpu_threads=threads)
        except Exception as error:  # CTranslate2 and tokenizers raise RuntimeError, ValueError and bare Exception
            raise ModelFilesError(f"{path} is torn or no Whisper model ({error}); copy it again") from error

    def sentences(self, waveform: Waveform, language: str, heard: Callable[[float], None]) -> list[Segment]:
        """What is said in ``waveform``, sentence by sentence, none longer than 11 s where words allow it."""
        words: list[Segment] = []
        for block in blocks(waveform.regions, waveform.probabilities, WINDOW_S):
            pcm = resample(waveform.cut(block.start, block.end), SAMPLE_RATE, voice_activity.SAMPLE_RATE)
            words += self._words(pcm, block.start, language)
            heard(block.end)
        return sentences(words, LONGEST_SENTENCE_S)

    def _words(self, pcm: Pcm, offset: float, language: str) -> Iterator[Segment]:
        """The words of ``pcm`` [samples] at 16 kHz, which starts at ``offset`` seconds; greedy, so always the same."""
        segments, _ = self._model.transcribe(
            pcm, language=language, temperature=0.0, word_timestamps=True, condition_on_previous_text=False
        )
        for segment in segments:
            for word in segment.words or ():
                yield Segment(offset + float(word.start), offset + float(word.end), str(word.word))


def open_transcriber(volume: Volume, name: str) -> Transcriber:
    """The model ``models/asr/<name>/`` on ``volume``."""
    return Transcriber(volume.models("asr", name), threads=len(os.sched_getaffinity(0)))
