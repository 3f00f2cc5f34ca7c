"""One clip as the model sees it: text tokens, audio codes and the style mel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from serving.audio.wav import read_wav
from serving.engines.xtts.text import read_out
from serving.errors import EngineError, InvalidRequest
from training.dataset.metadata import SAMPLE_RATE, Clip
from training.xtts.base import Base
from training.xtts.dvae import load_dvae

SHORTEST, LONGEST = SAMPLE_RATE // 2, 255995
"""Samples: half a second, and coqui's ``max_wav_length`` (11.6 s)."""

MOST_TEXT = 200
"""Tokens: coqui's ``max_text_length``."""

STOP, UNKNOWN = 0, 1
"""Tokens that no text may have, as in coqui's ``XTTSDataset``."""

FLOOR = 1e-5
"""Below which the mel's logarithm is cut off, as in coqui's ``TorchMelSpectrogram``."""


@dataclass(frozen=True, slots=True)
class Example:
    """One clip: ``text_tokens`` int32 [t], ``codes`` int16 [c], ``mel`` float16 [80, frames] of the whole clip."""

    id: str
    text_tokens: torch.Tensor
    codes: torch.Tensor
    mel: torch.Tensor
    samples: int


class ClipReader:
    """Mels are computed on the CPU, so that they are the same wherever it is, codes on the device of ``base``."""

    def __init__(self, base: Base, dvae_file: Path) -> None:
        from TTS.tts.layers.tortoise.arch_utils import TorchMelSpectrogram

        self._tokenizer = base.tokenizer
        self._dvae = load_dvae(dvae_file, base.mel_stats, base.device)
        # The arguments of coqui's GPTTrainer.
        self._mel = TorchMelSpectrogram(
            filter_length=2048,
            hop_length=256,
            win_length=1024,
            normalize=False,
            sampling_rate=SAMPLE_RATE,
            mel_fmin=0,
            mel_fmax=8000,
            n_mel_channels=80,
            mel_norm_file=None,
        )
        self._mel.mel_norms = base.mel_stats
        self.silence = math.log(FLOOR) / base.mel_stats

    def read(self, clip: Clip) -> Example:
        """Raises InvalidRequest (``dataset``) that says why the model cannot be trained on ``clip``."""
        text = self._text(clip)
        pcm = self._audio(clip)
        with torch.inference_mode():
            mel = self._mel(pcm[None])[0].half()
        return Example(clip.id, text, self._dvae.codes(pcm), mel, len(pcm))

    def _text(self, clip: Clip) -> torch.Tensor:
        try:
            tokens = self._tokenizer.encode(read_out(clip.text, clip.language), lang=clip.language)
        except Exception as error:  # the analysers of single languages raise anything
            raise _unusable(f"its text cannot be read out in language {clip.language!r} ({error})") from error
        if not 0 < len(tokens) <= MOST_TEXT:
            raise _unusable(f"its text has {len(tokens)} tokens, not 1 to {MOST_TEXT}")
        if STOP in tokens or UNKNOWN in tokens:
            raise _unusable("its text has letters that the model does not know")
        return torch.tensor(tokens, dtype=torch.int32)

    def _audio(self, clip: Clip) -> torch.Tensor:
        try:
            audio = read_wav(clip.path)
        except EngineError as error:
            raise _unusable(error.message) from error
        if audio.sample_rate != SAMPLE_RATE:
            raise _unusable(f"its audio has {audio.sample_rate} Hz instead of {SAMPLE_RATE}")
        if not SHORTEST <= len(audio.pcm) <= LONGEST:
            raise _unusable(f"it is {len(audio.pcm) / SAMPLE_RATE:.2f} s long, not 0.5 to 11.6")
        return torch.from_numpy(audio.pcm)


def _unusable(reason: str) -> InvalidRequest:
    return InvalidRequest(reason, "dataset")
