"""Model revisions on the volume and the pointer that says which one serves.

``models/<kind>/<name>/<revision>/`` never changes once published; ``models/<kind>/<name>/current`` names one
revision, and promotion and rollback rewrite it atomically. ``history`` beside it remembers the ones before.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.errors import InvalidRequest, KubevoiceError, ModelFilesError, NotFound
from serving.store.manifest import MANIFEST, verify_manifest, write_manifest
from serving.store.pointer import HISTORY, POINTER, Pointer
from serving.store.volume import Volume, is_safe_name, safe_name

XTTS_NEEDED = (("config.json",), ("vocab.json",), ("model.safetensors", "model.pth"))
"""What an XTTS v2 directory must hold: one file of each group."""


@dataclass(frozen=True)
class ModelRevision:
    """One published revision; ``bytes`` is the size of its files, ``current`` whether it serves."""

    kind: str
    name: str
    revision: str
    path: Path
    bytes: int
    current: bool


class ModelStore:
    """The models of one volume."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume

    def list(self) -> builtins.list[ModelRevision]:
        """Every revision that has a manifest, sorted by kind, name and revision."""
        return [
            _revision(path, current=path.name == _current(path.parent))
            for kind in _directories(self.volume.root / "models")
            for model in _directories(kind)
            for path in _directories(model)
            if (path / MANIFEST).is_file()
        ]

    def current(self, kind: str, name: str) -> ModelRevision | None:
        """The revision that serves, or None if there is no such model.

        A model made by hand, without a pointer, is accepted if it has exactly one revision. Raises ModelFilesError
        if the pointer is torn or its revision is gone, or if there are several revisions and no pointer.
        """
        model = self.volume.models(kind, name)
        revision = _current(model)
        if revision is None:
            if _directories(model):
                raise ModelFilesError(f"{model} has several revisions and none is current; promote one of them")
            return None
        if not is_safe_name(revision) or not (model / revision).is_dir():
            raise ModelFilesError(f"{model / POINTER} names {revision[:80]!r}, which is no revision here; promote one")
        return _revision(model / revision, current=True)

    def get(self, kind: str, name: str, revision: str) -> ModelRevision:
        """A published revision; raises NotFound."""
        path = self.path(kind, name, revision)
        if not path.is_dir():
            raise NotFound(f"{kind} model {name!r} has no revision {revision!r}; list the models", param="revision")
        return _revision(path, current=revision == _current(path.parent))

    def history(self, kind: str, name: str) -> builtins.list[str]:
        """The revisions that were current before this one, the latest last."""
        return Pointer(self.volume.models(kind, name)).history()

    @contextmanager
    def publish(
        self, kind: str, name: str, revision: str, facts: Mapping[str, object], *, promote: bool = True
    ) -> Iterator[Path]:
        """Yield a directory to fill with the model's files; then it gets a manifest, is published and promoted.

        ``facts`` are read when the block has ended, so it may still complete them.
        Raises Conflict if the revision exists and StorageError if the volume refuses; nothing is left then.
        """
        target = self.path(kind, name, revision)
        self.pin(kind, name)
        with self.volume.publish(target) as staging:
            yield staging
            write_manifest(staging, facts)
        if not promote:
            return
        try:
            self.promote(kind, name, revision)
        except KubevoiceError:
            self.volume.discard(target)
            raise

    def promote(self, kind: str, name: str, revision: str) -> None:
        """Make ``revision`` the one that serves and remember the one before; nothing happens if it serves already.

        Raises NotFound if it was never published, and ModelFilesError that names a file which is torn.
        """
        path = self.get(kind, name, revision).path
        _verify_sizes(path)
        others = [other.name for other in _directories(path.parent) if other != path]
        Pointer(path.parent).move(revision, before=others[0] if len(others) == 1 else None)

    def rollback(self, kind: str, name: str, revision: str | None = None) -> ModelRevision:
        """Go back to the revision that was current before, or to ``revision`` of the history; returns what serves now.

        Raises NotFound when there is none, and ModelFilesError that names a file which is torn.
        """
        if revision is not None:
            self.path(kind, name, revision)
        model = self.volume.models(kind, name)
        if not model.is_dir():
            raise NotFound(f"there is no {kind} model {name!r} on the volume; list the models", param="model")
        return self.get(kind, name, Pointer(model).move_back(revision, _verify_sizes))

    def pin(self, kind: str, name: str) -> None:
        """Write the pointer of a model that goes without because it has one revision: it is about to get another."""
        model = self.volume.models(kind, name)
        only = _directories(model)
        if len(only) == 1 and Pointer(model).read() is None:
            Pointer(model).move(only[0].name, before=None)

    def path(self, kind: str, name: str, revision: str) -> Path:
        """Where a revision is or would be; raises InvalidRequest for a name that cannot be one."""
        if revision in (POINTER, HISTORY):
            raise InvalidRequest(f"a revision cannot be called {revision!r}; choose another name", param="revision")
        return self.volume.models(kind, name) / safe_name(revision, "revision")


def verify_xtts(directory: Path) -> None:
    """Check, without reading the weights, that the files of an XTTS model are there and have the manifest's sizes.

    A model made by hand needs no manifest. Raises ModelFilesError that names the first file that is missing or differs.
    """
    for names in XTTS_NEEDED:
        if not any((directory / name).is_file() for name in names):
            wanted = directory / " or ".join(names)
            raise ModelFilesError(f"{wanted} is missing; run: kubevoice models pull, or put the file there")
    _verify_sizes(directory)


def _verify_sizes(directory: Path) -> None:
    if (directory / MANIFEST).exists():
        verify_manifest(directory, hashes=False)


def _directories(parent: Path) -> list[Path]:
    """The directories of ``parent`` that can be part of the layout, sorted; none if it is missing."""
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if is_safe_name(path.name) and path.is_dir())


def _current(model: Path) -> str | None:
    """What the pointer file says; without one, the only revision there is."""
    pointed = Pointer(model).read()
    if pointed is None:
        revisions = _directories(model)
        return revisions[0].name if len(revisions) == 1 else None
    return pointed


def _revision(path: Path, *, current: bool) -> ModelRevision:
    total = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return ModelRevision(path.parent.parent.name, path.parent.name, path.name, path, total, current)
