"""``clips/<key>/``: the clips of one recording, written once; the key is a hash of all that they depend on.

So a run that was killed goes on behind the last recording it finished, a later run makes only what is new, and no
clip that a metadata.csv names ever changes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from serving.files import fsync_directory, fsync_tree, refusing
from serving.store.volume import Volume
from training.dataset.base_model import Embedding
from training.dataset.clips import Made
from training.dataset.facts import ClipFacts
from training.dataset.metadata import CLIPS

FACTS = "recording.json"
EMBEDDINGS = "speakers.npy"
WORK = ".preparing"


class Folders:
    """Those of one dataset."""

    def __init__(self, dataset: Path) -> None:
        self.root = dataset / CLIPS
        self._work = dataset / WORK

    def relative(self, key: str) -> str:
        """The folder of ``key``, as metadata.csv names it."""
        return f"{CLIPS}/{key}"

    def read(self, key: str) -> Made | None:
        """What is there for ``key``, whole; None where there is nothing or not all of it."""
        folder = self.root / key
        try:
            content = json.loads((folder / FACTS).read_bytes())
            clips = [ClipFacts.model_validate(clip) for clip in content["clips"]]
            if any((folder / name).stat().st_size != size for name, size in content["files"].items()):
                return None
            embeddings = list(np.load(folder / EMBEDDINGS, allow_pickle=False))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError):
            return None
        return Made(clips, embeddings) if len(embeddings) == sum(clip.file is not None for clip in clips) else None

    def write(self, key: str, make: Callable[[Path], Made]) -> Made:
        """Let ``make`` fill a folder, and put it in the place of ``key``, durably and all at once.

        Raises StorageError; nothing is left then, nor when ``make`` raises.
        """
        folder = self._work / key
        try:
            with refusing(folder):
                folder.mkdir(parents=True)
            made = make(folder)
            with refusing(folder):
                _complete(folder, made)
                self.root.mkdir(exist_ok=True)
                folder.rename(self.root / key)
                fsync_directory(self.root)
        finally:
            shutil.rmtree(self._work, ignore_errors=True)
        return made

    def remove(self, key: str) -> None:
        """Make room for ``key`` where something broken is in its place."""
        shutil.rmtree(self.root / key, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what a killed run left unfinished."""
        shutil.rmtree(self._work, ignore_errors=True)

    def keep(self, keys: Iterable[str], volume: Volume) -> None:
        """Discard the folders that are none of ``keys``; who reads in one goes on reading."""
        wanted = set(keys)
        for folder in sorted(self.root.iterdir()) if self.root.is_dir() else []:
            if folder.name not in wanted:
                volume.discard(folder)


def _complete(folder: Path, made: Made) -> None:
    rows: list[Embedding] = made.embeddings
    with (folder / EMBEDDINGS).open("wb") as file:
        np.save(file, np.stack(rows) if rows else np.zeros((0, 0), np.float32), allow_pickle=False)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    clips = [clip.model_dump(mode="json", exclude_defaults=True) for clip in made.clips]
    text = json.dumps({"clips": clips, "files": sizes}, ensure_ascii=False, indent=1)
    (folder / FACTS).write_bytes(text.encode())
    fsync_tree(folder)
