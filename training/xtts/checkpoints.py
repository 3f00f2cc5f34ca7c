"""Checkpoints of a run: ``checkpoints/step-<number>/`` with the weights, AdamW's state and where the run was.

A directory is written under another name, made durable and renamed, and its manifest has a sha256 of every file: what
is torn or rotten is found when it is read, renamed ``.bad``, and the checkpoint before it is taken. What the volume
cannot read is not damaged: that is a StorageError, and the run is tried again.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError

from serving.errors import InvalidRequest, ModelFilesError, StorageError
from serving.files import fsync_directory, refusing
from serving.store.manifest import Manifest, verify_manifest, write_manifest
from serving.store.training_files import CHECKPOINTS, TrainingSettings
from training.xtts.position import Position
from training.xtts.tensors import read_tensors, write_tensors

WEIGHTS, OPTIMIZER = "weights.safetensors", "optimizer.safetensors"
NAME = re.compile(r"step-(\d{8,})")
BAD, TEMPORARY = ".bad", ".tmp"

log = logging.getLogger(__name__)


class Facts(BaseModel):
    """What a checkpoint says about itself, in its manifest. ``data`` names the clips and codes it was trained on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    position: Position
    settings: TrainingSettings
    data: str
    plan: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """One that was read and is sound. ``weights`` is the decoder's state, or the adapter's alone."""

    path: Path
    facts: Facts
    weights: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]


class Checkpoints:
    """Those of the run in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / CHECKPOINTS

    def save(
        self,
        facts: Facts,
        weights: Mapping[str, torch.Tensor],
        optimizer: Mapping[str, torch.Tensor],
        before_rename: Callable[[], None] = lambda: None,
    ) -> Path:
        """Write one; ``before_rename`` may raise to leave the run as it was.

        Raises StorageError when the volume refuses; nothing of the new checkpoint is left then, and all others are.
        """
        target = self._path(facts.position.step)
        temporary = target.with_name(f".{target.name}{TEMPORARY}")
        try:
            with refusing(target):
                self.directory.mkdir(parents=True, exist_ok=True)
                for left in self.directory.glob(f".step-*{TEMPORARY}"):  # of processes that were killed: gigabytes each
                    shutil.rmtree(left, ignore_errors=True)
                temporary.mkdir()
                write_tensors(temporary / WEIGHTS, weights)
                write_tensors(temporary / OPTIMIZER, optimizer)
                write_manifest(temporary, facts.model_dump(mode="json"))
                before_rename()
                if target.exists():  # the same step, by a run that went back to an older checkpoint
                    shutil.rmtree(target)
                temporary.rename(target)
                fsync_directory(self.directory)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return target

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, the oldest first; raises StorageError."""
        try:
            matches = [NAME.fullmatch(path.name) for path in self.directory.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unread(self.directory, error) from error
        return sorted(int(match[1]) for match in matches if match)

    def newest(self) -> Checkpoint | None:
        """The newest that is sound; those after it are renamed, so that they are not tried again.

        None where there is none. Raises ModelFilesError where all are damaged, as ``read`` otherwise; all keep
        their names then.
        """
        damaged = []
        for step in reversed(self.steps()):
            try:
                sound = self.read(step)
            except ModelFilesError as error:
                log.warning("checkpoint of step %d is damaged (%s); the one before is tried", step, error)
                damaged.append(step)
                continue
            for each in damaged:
                self._set_aside(each)
            return sound
        if damaged:
            raise ModelFilesError(
                f"every checkpoint in {self.directory} is damaged or incomplete, and the log says how; restore one, "
                "delete that directory to train from the beginning, or start a new run"
            )
        return None

    def read(self, step: int, *, optimizer: bool = True) -> Checkpoint:
        """The checkpoint of ``step``; raises ModelFilesError that names the file that is missing or damaged.

        Raises StorageError where the volume does not read it, InvalidRequest for one of another version.
        """
        path = self._path(step)
        try:
            facts = _facts(path, verify_manifest(path, hashes=True))
            state = read_tensors(path / OPTIMIZER) if optimizer else {}
            return Checkpoint(path, facts, read_tensors(path / WEIGHTS), state)
        except ModelFilesError as error:
            cause, missing = error.__cause__, (FileNotFoundError, NotADirectoryError)
            # safetensors hides the volume's errors in its own, and what it reads has the right sha256.
            if isinstance(cause, OSError | SafetensorError) and not isinstance(cause, missing):
                raise _unread(path, cause) from error
            raise

    def prune(self, keep: int, best: int | None) -> None:
        """Delete all but the ``keep`` newest and ``best``, and all damaged ones but the newest; raises StorageError."""
        with refusing(self.directory):
            for step in self.steps()[:-keep]:
                if step != best:
                    shutil.rmtree(self._path(step))
            for path in sorted(self.directory.glob(f"step-*{BAD}"))[:-1]:
                shutil.rmtree(path)

    def _path(self, step: int) -> Path:
        return self.directory / f"step-{step:08d}"

    def _set_aside(self, step: int) -> None:
        path = self._path(step)
        bad = path.with_name(path.name + BAD)
        with refusing(bad):
            shutil.rmtree(bad, ignore_errors=True)
            path.rename(bad)
            fsync_directory(self.directory)


def _facts(path: Path, manifest: Manifest) -> Facts:
    """Raises InvalidRequest: its files are sound, so setting it aside would lose work."""
    try:
        return Facts.model_validate(manifest.facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(
            f"{path} is of another version of kubevoice ({where}: {first['msg']}); go on with that one, or start anew",
            param="run",
        ) from None


def _unread(path: Path, error: OSError | SafetensorError) -> StorageError:
    reason = getattr(error, "strerror", None) or str(error)
    return StorageError(
        f"cannot read {path}: {reason}; check the volume and start the run again, nothing is lost of it"
    )
