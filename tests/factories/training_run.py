"""A data directory with all that a fine-tuning run takes: a tiny model, the DVAE, a dataset, and a ``run.json``."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from serving.store.dataset_files import DatasetSpec, write_dataset
from serving.store.training_files import RunSpec, TrainingSettings, write_run
from tests.factories.dataset import cached_dataset
from tests.factories.dvae import cached_dvae
from tests.factories.xtts import cached_checkpoint
from training.xtts.checkpoints import Checkpoint, Checkpoints
from training.xtts.command import main
from training.xtts.leader import Leader
from training.xtts.position import Position
from training.xtts.signals import SIGNALS

TENANT, NAME, DATASET, REVISION = "acme", "narrator", "voice", "1"
QUICK: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 4,
    "micro_batch_size": 2,
    "learning_rate": 1e-3,
    "warmup_steps": 2,
    "log_every_n_steps": 1,
    "samples": 0,
    "precision": "float32",
}
"""Settings of which a run takes seconds."""


def make_run(data: Path, *, clips: int = 10, val: int = 2, longest_s: float = 3.0, **settings: Any) -> Path:
    """A run below ``data``, made there for it; returns its directory."""
    model = data / "models" / "xtts" / "xtts_v2"
    model.mkdir(parents=True)
    (model / REVISION).symlink_to(cached_checkpoint("tiny"))
    shared = data / "models" / "shared" / "xtts_dvae"
    shared.mkdir(parents=True)
    (shared / "dvae.pth").symlink_to(cached_dvae())
    dataset = data / "datasets" / TENANT / DATASET
    shutil.copytree(cached_dataset(clips, val=val, longest_s=longest_s), dataset)
    write_dataset(dataset, DatasetSpec(tenant=TENANT, name=DATASET, language="en", consent="The speaker agreed."))
    directory = data / "training" / TENANT / NAME
    directory.mkdir(parents=True)
    write_settings(directory, **settings)
    return directory


def write_settings(directory: Path, **settings: Any) -> None:
    """Write ``run.json``: ``QUICK`` and ``settings``."""
    spec = RunSpec(
        tenant=TENANT, name=NAME, dataset=DATASET, settings=TrainingSettings.model_validate({**QUICK, **settings})
    )
    write_run(directory, spec)


def start(directory: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The command itself, as a Job runs it."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("KUBEVOICE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "training.xtts", str(directory), *arguments],
        env={**variables, "OMP_NUM_THREADS": "1", "XTTS_DEVICE": "cpu", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_here(directory: Path, *, arguments: Sequence[str] = (), **environment: str) -> int:
    """The command in this process, on one core; leaves signals, loggers and the environment as they were."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    loggers = [logging.getLogger(name) for name in ("serving", "training")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with patch.dict(os.environ, {"XTTS_DEVICE": "cpu", **environment}):
            return main([str(directory), *arguments])
    finally:
        torch.set_num_threads(threads)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for logger, (old, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = old, propagate
            logger.setLevel(level)


@contextmanager
def told_to_stop_at(step: int) -> Iterator[None]:
    """SIGTERM comes to this process during ``step``."""
    moved = Leader.moved

    def tell(leader: Leader, position: Position, steps: int) -> None:
        moved(leader, position, steps)
        if position.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with patch.object(Leader, "moved", tell):
        yield


def newest(directory: Path) -> Checkpoint:
    """The newest checkpoint of the run, which must be sound."""
    checkpoints = Checkpoints(directory)
    return checkpoints.read(checkpoints.steps()[-1])


def assert_equal(one: Checkpoint, other: Checkpoint) -> None:
    """Weights, optimizer and position are the same to the bit."""
    assert one.facts.position == other.facts.position
    for ours, theirs in ((one.weights, other.weights), (one.optimizer, other.optimizer)):
        assert ours.keys() == theirs.keys()
        different = [name for name, tensor in ours.items() if not torch.equal(tensor, theirs[name])]
        assert not different, different[:5]
