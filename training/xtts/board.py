"""TensorBoard's curves and samples of a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from serving.files import refusing
from serving.store.training_files import TENSORBOARD
from training.xtts.metrics import Measured

if TYPE_CHECKING:
    from training.xtts.samples import Sample

CURVES = ("train_loss", "learning_rate", "grad_norm", "clips_per_second")


class Board:
    """The events of the run in ``directory``. A run resumed at ``step`` hides what was written of later ones."""

    def __init__(self, directory: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = directory / TENSORBOARD
        with refusing(self._path):
            self._writer: Any = SummaryWriter(self._path, purge_step=step + 1)

    def step(self, measured: Measured) -> None:
        """Raises StorageError, as the others do."""
        with refusing(self._path):
            for name in CURVES:
                value = getattr(measured, name)
                if value is not None:
                    self._writer.add_scalar(name, value, measured.step)
            self._writer.flush()

    def validated(self, step: int, val_loss: float) -> None:
        with refusing(self._path):
            self._writer.add_scalar("val_loss", val_loss, step)
            self._writer.flush()

    def samples(self, step: int, samples: Iterable[Sample]) -> None:
        """The audio of each at its own rate, and the text that it speaks."""
        with refusing(self._path):
            for sample in samples:
                name, speech = f"samples/{sample.clip.id}", sample.speech
                pcm = torch.from_numpy(speech.pcm)[None]
                self._writer.add_audio(name, pcm, step, sample_rate=speech.sample_rate)
                self._writer.add_text(name, sample.clip.text, step)
            self._writer.flush()

    def close(self) -> None:
        with refusing(self._path):
            self._writer.close()
