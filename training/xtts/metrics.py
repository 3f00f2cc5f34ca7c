"""``metrics.jsonl``: what a run tells of its steps."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from serving.files import refusing, write_atomic
from serving.store.training_files import METRICS_FILE


@dataclass(frozen=True)
class Measured:
    """A logged step; ``train_loss`` is per token over the steps since the last one, comparable to ``val_loss``.

    ``grad_norm`` is the step's own, None where it was skipped.
    """

    step: int
    steps: int
    epoch: int
    train_loss: float
    text_loss: float
    mel_loss: float
    learning_rate: float
    grad_norm: float | None
    clips_per_second: float
    eta_s: float
    skipped_steps: int


class Metrics:
    """``metrics.jsonl`` of the run in ``directory``: each logged step once."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / METRICS_FILE

    def rewind(self, step: int) -> None:
        """Forget what was logged after ``step``, and a line that was being written; raises StorageError."""
        with refusing(self.path):
            lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        kept = [line for line in lines if _step(line) <= step]
        if kept != lines:
            write_atomic(self.path, b"".join(kept))

    def add(self, measured: Measured) -> None:
        """Append a line; raises StorageError."""
        with refusing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(measured), allow_nan=False) + "\n")


def _step(line: bytes) -> float:
    """The step of a line; endless for what is no whole line."""
    try:
        return int(json.loads(line)["step"]) if line.endswith(b"\n") else float("inf")
    except (ValueError, KeyError, TypeError):
        return float("inf")
