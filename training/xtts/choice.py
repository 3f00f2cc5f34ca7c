"""Which clips a run trains on, and whether they are still the ones that it began with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from serving.errors import InvalidRequest, ModelFilesError
from serving.files import refusing, write_atomic
from serving.store.training_files import TrainingSettings
from training.dataset.metadata import Clip

if TYPE_CHECKING:
    from training.xtts.features import Features

DATA_FILE = "data.json"
NAMED = 3
"""Clips that an error names."""


@dataclass(frozen=True)
class Choice:
    """The clips to train on and to validate with, both in an order that the file's does not change."""

    train: list[Clip]
    val: list[Clip]


def choose(clips: Sequence[Clip], most: int | None) -> Choice:
    """Of the split train the first ``most`` in the order of their ids' hashes: a larger ``most`` only adds clips.

    Raises InvalidRequest (``dataset``) if one of the two splits is empty.
    """
    ordered = sorted(clips, key=lambda clip: hashlib.sha256(clip.id.encode()).digest())
    train = [clip for clip in ordered if clip.split == "train"][:most]
    val = [clip for clip in ordered if clip.split == "val"]
    for split, chosen in (("train", train), ("val", val)):
        if not chosen:
            raise InvalidRequest(f"the dataset has no clip of the split {split}; add recordings and prepare it again")
    return Choice(train, val)


class Data(BaseModel):
    """``data.json`` of a run: a digest of each clip of its dataset, by id."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    clips: dict[str, str]


def settle(directory: Path, clips: Sequence[Clip]) -> str:
    """Write down the dataset of the run in ``directory`` or, if it was begun before, see that nothing has changed.

    Returns a digest of it. Raises InvalidRequest (``dataset``) that says what has changed: the losses of one run are
    of one dataset, and no clip may be skipped or seen twice unnoticed. Raises StorageError.
    """
    path = directory / DATA_FILE
    with refusing(path):
        now = {clip.id: _digest(clip) for clip in sorted(clips, key=lambda clip: clip.id)}
    known = _read(path)
    if known is None:
        write_atomic(path, Data(clips=now).model_dump_json().encode())
    elif known.clips != now:
        differences = {
            "added": [name for name in now if name not in known.clips],
            "removed": [name for name in known.clips if name not in now],
            "changed": [name for name, digest in now.items() if known.clips.get(name, digest) != digest],
        }
        what = "; ".join(f"{_named(names)} {verb}" for verb, names in differences.items() if names)
        raise InvalidRequest(
            f"the dataset has changed since this run began: {what}; start a new run, or put it back as it was",
            param="dataset",
        )
    return _hash(now)


def plan_digest(features: Features, settings: TrainingSettings) -> str:
    """Of all that decides which clips the batches of an epoch have; a position within an epoch is one of this plan."""
    lengths = [[length.id, length.text, length.codes] for length in features.lengths]
    return _hash([lengths, settings.batch_size, settings.seed])


def _digest(clip: Clip) -> str:
    """Of what the clip is, not of where it lies or when it was written."""
    digest = hashlib.sha256(json.dumps([clip.text, clip.speaker, clip.language, clip.split]).encode())
    with clip.path.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ("clip " if len(names) == 1 else "clips ") + ", ".join(names[:NAMED]) + more


def _read(path: Path) -> Data | None:
    try:
        with refusing(path):
            return Data.model_validate_json(path.read_bytes()) if path.exists() else None
    except ValidationError:
        raise ModelFilesError(f"{path} is damaged; restore it, or start a new run") from None
