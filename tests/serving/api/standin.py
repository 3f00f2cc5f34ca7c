"""A launcher of real, supervised processes that run this file where the real trainer would take minutes.

``standin.py FOLDER`` works on a dataset or a run as its files say: it writes the status files of the contract, saves on
SIGTERM and exits as the trainers do. A run of one epoch succeeds, of 42 or 43 fails with that exit code, of 1000 goes
on until it is stopped.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.launch import Run
from serving.launch.base import Kind
from serving.launch.local import LocalLauncher
from serving.store.dataset_files import DATASET_FILE, REPORT_FILE, DatasetStatus, write_dataset_status
from serving.store.training_files import EVALUATION_FILE, SAMPLES, RunStatus, read_run, write_status


class StandIn(LocalLauncher):
    """Starts this file in the place of a trainer. ``started`` are the commands that were asked for."""

    def __init__(self, root: Path, **options: Any) -> None:
        super().__init__(root, **{"retries": 0, "grace_s": 10.0, "poll_s": 0.02, "at_once": 4, **options})
        self.started: list[list[str]] = []

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        kind: Kind = "training",
    ) -> Run:
        self.started.append(list(command))
        return super().start(name, ["python", "-m", __name__, command[-1]], env=env, labels=labels, kind=kind)


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def prepare(directory: Path) -> int:
    clips = [path for path in (directory / "raw").rglob("*.wav") if path.read_bytes() != b"broken"]
    if not clips:
        write_dataset_status(directory, DatasetStatus(state="failed", error="no clip is left; add recordings"))
        return 42
    report = {"totals": {"kept": len(clips)}, "warnings": [], "clips": []}
    (directory / REPORT_FILE).write_text(json.dumps(report))
    write_dataset_status(directory, DatasetStatus(state="ready", done=len(clips), total=len(clips), kept=len(clips)))
    return 0


def train(directory: Path) -> int:
    spec = read_run(directory)
    began = datetime.now(UTC)

    def say(state: Any, **facts: Any) -> None:
        epochs = spec.settings.epochs
        write_status(
            directory, RunStatus(state=state, started_at=began, updated_at=datetime.now(UTC), epochs=epochs, **facts)
        )

    def stop(*_: object) -> None:
        say("stopped", epoch=1, step=3)
        tell("saved")
        sys.exit(143)

    signal.signal(signal.SIGTERM, stop)
    say("training", epoch=1, step=1, steps=10, train_loss=2.5)
    tell(f"attempt on {spec.dataset}")
    if spec.settings.epochs in (42, 43):
        say("failed", error="the dataset has no clips; prepare it again")
        return spec.settings.epochs
    while spec.settings.epochs == 1000 and not (directory / "finish").exists():
        time.sleep(0.02)
    (directory / SAMPLES / "step_000001").mkdir(parents=True, exist_ok=True)
    (directory / SAMPLES / "step_000001" / "0.wav").write_bytes(b"RIFFsample")
    (directory / EVALUATION_FILE).write_text('[{"name": "base", "val_loss": 2.5}, {"name": "run", "val_loss": NaN}]')
    say("succeeded", epoch=1, step=10, steps=10, train_loss=1.5)
    tell("done")
    return 0


def main(directory: Path) -> int:
    return prepare(directory) if (directory / DATASET_FILE).exists() else train(directory)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
