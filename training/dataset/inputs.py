"""Hashes of what a dataset is made from: they say what is to be made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from serving.errors import InvalidRequest
from serving.store.dataset_files import DatasetSpec
from training.dataset.sources import Recording

VERSION = 1
"""Raised whenever the same input would give other clips."""


def recording_keys(recordings: tuple[Recording, ...], basis: str, check: Callable[[], None]) -> dict[str, Recording]:
    """The key of every recording: of its bytes, its texts and ``basis``, which is what all have in common.

    ``check`` is called on the way and may raise. Raises InvalidRequest for a file that cannot be read.
    """
    keys = {}
    for recording in recordings:
        content = _sha256(recording.path, check) if recording.path else ""
        said = [asdict(utterance) for utterance in recording.utterances]
        keys[_digest([recording.name, content, recording.repeats, said, basis])[:20]] = recording
    return keys


def basis(spec: DatasetSpec, model: str, transcriber: str | None) -> str:
    """What the clips of every recording depend on, beside the recording."""
    settings = spec.settings.model_dump(exclude={"val_fraction"})
    return _digest([VERSION, spec.name, spec.language, spec.speaker, settings, model, transcriber])


def fingerprint(spec: DatasetSpec, keys: Mapping[str, Recording]) -> str:
    """What metadata.csv and report.json depend on."""
    return _digest([sorted(keys), spec.settings.val_fraction, spec.tenant, spec.consent])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path, check: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(2**22):
                digest.update(block)
                check()
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror or error}", "raw") from error
    return digest.hexdigest()
