"""What the model to be trained says of a clip: its tokens, and how its speaker encoder hears the voice."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from serving.audio.pcm import Pcm
from serving.engines.normalisation import edition
from serving.engines.xtts.checkpoint import owned, read_config, read_parts
from serving.engines.xtts.text import TextFrontEnd, read_out
from serving.errors import ModelFilesError
from serving.store.models import ModelStore, verify_xtts
from serving.store.volume import Volume, safe_name
from training.dataset.metadata import SAMPLE_RATE

ENCODER = "hifigan_decoder.speaker_encoder."
ENCODER_RATE = 16000

READING = 2
"""Of the front end beside ``normalise``, which tells its ``edition`` itself; another one reads texts anew."""

logger = logging.getLogger(__name__)

Embedding = npt.NDArray[np.float32]


class UnreadableText(Exception):
    """The front end cannot read a text out."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of a text: their ``count``, and the characters that the model has none for."""

    count: int
    unknown: str


class BaseModel:
    """The tokenizer and the speaker encoder (8 M weights) of an XTTS directory; the decoder is never loaded.

    ``identity`` changes whenever what it says may change.
    """

    def __init__(self, directory: Path, name: str) -> None:
        """Raises ModelFilesError for files that are missing or not of one model."""
        config = read_config(directory)
        parts = read_parts(directory, config)
        vocabulary = hashlib.sha256((directory / "vocab.json").read_bytes()).hexdigest()[:16]
        self.name = name
        self.identity = f"{name} {vocabulary} {parts.file.stat().st_size} {READING} {edition()}"
        self.front_end = TextFrontEnd(parts.tokenizer, config.languages, config.model_args.gpt_max_text_tokens)
        self._tokenizer = parts.tokenizer
        self._unknown = parts.tokenizer.tokenizer.token_to_id("[UNK]")
        self._encoder: Any = parts.model.hifigan_decoder.speaker_encoder
        device = torch.device("cpu")
        weights = {key.removeprefix(ENCODER): owned(parts, key, device) for key in parts.weights if ENCODER in key}
        self._encoder.load_state_dict(weights, strict=True)
        self._encoder.requires_grad_(False).eval()

    def most_characters(self, language: str) -> int:
        """The longest text that the model takes in one piece; ``language`` as ``front_end.language`` gives it."""
        return int(self._tokenizer.char_limits[language])

    def tokens(self, text: str, language: str) -> Tokens:
        """``text`` as training encodes it; raises UnreadableText for what no front end reads."""
        try:
            read = read_out(text, language)
            ids = self._tokenizer.encode(read, lang=language)
            cleaned = self._tokenizer.preprocess_text(read, language)
        except Exception as error:  # num2words and the analysers of single languages raise anything
            raise UnreadableText(f"{type(error).__name__}: {error}") from error
        unknown = "".join(letter for letter in sorted(set(cleaned)) if self._lacks(letter)) if self._has(ids) else ""
        return Tokens(len(ids), unknown or ("?" if self._has(ids) else ""))

    def _has(self, ids: list[int]) -> bool:
        return self._unknown in ids

    def _lacks(self, letter: str) -> bool:
        return not letter.isspace() and self._has(self._tokenizer.tokenizer.encode(letter).ids)

    def embedding(self, pcm: Pcm) -> Embedding:
        """The voice in ``pcm`` [samples] at 22,050 Hz as [512] of norm 1, by coqui's ``Xtts.get_speaker_embedding``."""
        from torchaudio.functional import resample

        with torch.inference_mode():
            audio = resample(torch.from_numpy(pcm)[None], SAMPLE_RATE, ENCODER_RATE)
            found: Embedding = self._encoder.forward(audio, l2_norm=True)[0].numpy().astype(np.float32)
        return found


def open_base_model(volume: Volume, name: str, revision: str | None) -> BaseModel:
    """The model ``name`` on ``volume``; raises ModelFilesError that says how to get it where it is not there."""
    if revision is None:
        current = ModelStore(volume).current("xtts", name)
        directory = current.path if current else volume.models("xtts", name)
    else:
        directory = volume.models("xtts", name) / safe_name(revision, "revision")
    if not directory.is_dir():
        raise ModelFilesError(
            f"there is no model {name} in {directory}, whose tokenizer and speaker encoder judge the clips; "
            "run: kubevoice models pull"
        )
    verify_xtts(directory)
    return BaseModel(directory, f"{name}@{directory.name}")
