"""What is known of a run after each epoch: validation losses, samples, and when it has had enough."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.files import refusing, write_atomic
from serving.store.training_files import EVALUATION_FILE, SAMPLES
from training.dataset.metadata import Clip
from training.xtts import lora
from training.xtts.base import Base
from training.xtts.board import Board
from training.xtts.evaluation import add_row, evaluate, make_row, read_rows
from training.xtts.features import Features
from training.xtts.position import Position
from training.xtts.recogniser import Recogniser
from training.xtts.run import Run
from training.xtts.samples import speak
from training.xtts.step import precision

RECOGNISER = "whisper"
"""Below ``models/asr`` of the volume."""

KEPT_SAMPLES = 5
"""Newest rows whose samples stay, beside the base model's and the best's: a run of 1000 epochs is no archive."""


@dataclass(frozen=True)
class History:
    """The rows of evaluation.json. The base model's counts as an epoch without an improvement, too: it may be best."""

    rows: list[dict[str, Any]]

    @property
    def best(self) -> dict[str, Any] | None:
        """The trained weights with the lowest validation loss, the first of several."""
        return min((row for row in self.rows if row["step"]), key=_loss, default=None)

    def is_enough(self, epoch: int, patience: int | None) -> bool:
        """True if the loss has not fallen for ``patience`` epochs."""
        if patience is None or not self.rows:
            return False
        return epoch - int(min(self.rows, key=_loss)["epoch"]) >= patience

    def has(self, step: int) -> bool:
        return any(row["step"] == step for row in self.rows)


class Validation:
    """Validates on ``val`` and speaks texts of ``clips``; ``check`` may raise between the two to stop."""

    def __init__(
        self, run: Run, base: Base, val: Features, clips: Sequence[Clip], board: Board, check: Callable[[], None]
    ) -> None:
        self._run, self._base, self._val, self._clips = run, base, val, clips
        self._board, self._check = board, check
        self._recogniser = Recogniser.find(run.volume.root / "models" / "asr" / RECOGNISER)

    def history(self) -> History:
        return History(read_rows(self._run.directory))

    def validate(self, position: Position) -> History:
        """Add a row for ``position`` unless it is there; raises StorageError, and what ``check`` raises."""
        history = self.history()
        if history.has(position.step):
            return history
        self._check()
        settings, directory = self._run.settings, self._run.directory
        autocast = precision(settings, self._base.device)
        evaluation = evaluate(
            self._base.gpt,
            self._val,
            micro_batch_size=settings.micro_batch_size,
            device=self._base.device,
            autocast=autocast,
        )
        self._check()
        samples = speak(
            self._base,
            lora.merged_state(self._base.gpt),
            self._clips,
            directory / SAMPLES,
            position.step,
            settings.seed,
            count=settings.samples,
            recogniser=self._recogniser,
        )
        self._board.validated(position.step, evaluation.val_loss)
        self._board.samples(position.step, samples)
        add_row(directory, make_row(position.step, position.epoch, evaluation, samples))
        history = self.history()
        prune_samples(directory / SAMPLES, history)
        return history


def prune_samples(folder: Path, history: History) -> None:
    """Delete from ``folder`` the samples of all rows but the base model's, the best's and the newest; what belongs to
    no row stays. Raises StorageError."""
    best = history.best
    kept = {0, *(row["step"] for row in history.rows[-KEPT_SAMPLES:]), best and best["step"]}
    with refusing(folder):
        for row in history.rows:
            path = folder / f"step-{row['step']}"
            if row["step"] not in kept and path.is_dir():
                shutil.rmtree(path)


def rewind(directory: Path, step: int) -> None:
    """Forget the rows of later steps than ``step``, of a run that went back to an older checkpoint."""
    rows = read_rows(directory)
    kept = [row for row in rows if row["step"] <= step]
    if kept != rows:
        write_atomic(directory / EVALUATION_FILE, json.dumps(kept, indent=2).encode())


def _loss(row: dict[str, Any]) -> float:
    """Endless where it was no number."""
    loss = row.get("val_loss")
    return math.inf if loss is None else float(loss)
