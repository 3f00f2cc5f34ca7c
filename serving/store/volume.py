"""The layout of the data directory, and the only ways to put a directory in it or to take one out.

A directory is filled in ``.staging``, made durable, and renamed into place: a reader sees all of it or none. Deleting
renames it into ``.trash``, so a reader that has it open finishes; ``sweep`` gives the space back later.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import Conflict, InvalidRequest
from serving.files import fsync_directory, fsync_tree, refusing, storage_error

STAGING = ".staging"
TRASH = ".trash"
TOP_FOLDERS = ("models", "voices", "consents", "jobs", "datasets", "training", TRASH, STAGING)

COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

log = logging.getLogger(__name__)


def is_safe_name(value: str) -> bool:
    """True if ``value`` can be one component of a path."""
    return COMPONENT.fullmatch(value) is not None and ".." not in value


def safe_name(value: str, param: str) -> str:
    """Return ``value`` if it can be one component of a path; raise InvalidRequest naming ``param`` otherwise."""
    if not is_safe_name(value):
        raise InvalidRequest(
            f"{param} {value[:80]!r} cannot be used; take 1 to 64 letters, digits, dots, dashes and underscores, "
            "starting with a letter or digit and without two dots in a row",
            param=param,
        )
    return value


class Volume:
    """The data directory at ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self) -> None:
        """Make the top folders of the layout; raises StorageError where that is impossible."""
        for name in TOP_FOLDERS:
            with refusing(self.root / name):
                (self.root / name).mkdir(parents=True, exist_ok=True)

    def models(self, kind: str, name: str) -> Path:
        """The directory of one model, which holds its revisions."""
        return self.root / "models" / safe_name(kind, "kind") / safe_name(name, "model")

    def voice(self, tenant: str, voice_id: str) -> Path:
        """The directory of one voice."""
        return self.root / "voices" / safe_name(tenant, "tenant") / safe_name(voice_id, "voice")

    def presets(self, tenant: str) -> Path:
        """The directory of what a tenant keeps about the model's own voices."""
        return self.root / "voices" / safe_name(tenant, "tenant") / "presets"

    def consent(self, tenant: str, consent_id: str) -> Path:
        """The directory of one consent to be cloned."""
        return self.root / "consents" / safe_name(tenant, "tenant") / safe_name(consent_id, "consent_id")

    def dataset(self, tenant: str, name: str) -> Path:
        """The directory of one dataset."""
        return self.root / "datasets" / safe_name(tenant, "tenant") / safe_name(name, "dataset")

    def training_run(self, tenant: str, name: str) -> Path:
        """The directory of one training run."""
        return self.root / "training" / safe_name(tenant, "tenant") / safe_name(name, "run")

    def job(self, tenant: str, name: str) -> Path:
        """The directory of one job, which holds its audio."""
        return self.root / "jobs" / safe_name(tenant, "tenant") / safe_name(name, "job")

    @contextmanager
    def publish(self, target: Path) -> Iterator[Path]:
        """Yield an empty directory to fill; when the block ends, it becomes ``target``, durably and all at once.

        Raises Conflict if ``target`` exists and StorageError if the volume refuses; on these and on every error of
        the block nothing is left behind.
        """
        if os.path.lexists(target):
            raise _taken(target)
        staging = self.root / STAGING / _unique(target)
        try:
            with _refusing_volume_faults(target):
                staging.mkdir(parents=True)
                yield staging
                fsync_tree(staging)
                make_durable_directory(target.parent)
                _move_into_place(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def discard(self, path: Path) -> None:
        """Take ``path`` out of the layout at once; its space is free after a sweep. A missing path is fine."""
        trash = self.root / TRASH
        with refusing(path):
            trash.mkdir(parents=True, exist_ok=True)
            try:
                os.utime(path)  # sweep counts from the deletion, and a rename alone does not change the time
                path.rename(trash / _unique(path))
            except FileNotFoundError:
                return
            fsync_directory(path.parent)

    def erase(self, path: Path, check: Callable[[], None] | None = None) -> bool:
        """Like ``discard``, and give back its space now; what cannot be deleted is left for the sweep.

        ``check`` is called when nobody finds ``path`` any more; what it raises puts it back. False if it was missing.
        """
        trash = self.root / TRASH
        with refusing(path):
            trash.mkdir(parents=True, exist_ok=True)
            target = trash / _unique(path)
            try:
                os.utime(path)
                path.rename(target)
            except FileNotFoundError:
                return False
        try:
            if check is not None:
                check()
        except BaseException:
            with refusing(path):
                target.rename(path)
            raise
        with refusing(path):
            fsync_directory(path.parent)
        try:
            _delete(target)
        except OSError as error:
            log.warning("cannot delete %s yet: %s", target, error)
        return True

    def erase_with(self, path: Path, forget: Callable[[], bool]) -> bool:
        """``erase``, and ``forget`` what is recorded of ``path`` on the way; whether there was either.

        Raises what ``forget`` does. A process that is killed in between leaves a record without files, not files
        without a record.
        """

        def check() -> None:
            forget()  # or somebody did who saw no files

        return self.erase(path, check) or forget()

    def sweep(self, older_than_s: float) -> int:
        """Delete what was discarded, or abandoned by a killed writer, at least ``older_than_s`` seconds ago.

        Returns how many entries were removed. An entry that cannot be deleted is logged and left for the next sweep.
        """
        newest = time.time() - older_than_s
        removed = 0
        for folder in (TRASH, STAGING):
            with refusing(self.root / folder):
                entries = sorted((self.root / folder).iterdir())
            for entry in entries:
                try:
                    if last_touched(entry) <= newest:
                        _delete(entry)
                        removed += 1
                except FileNotFoundError:
                    continue  # its writer finished, or another sweep was faster
                except OSError as error:
                    log.warning("cannot delete %s: %s", entry, error)
        return removed

    def free_bytes(self) -> int:
        """Bytes that the volume can still take."""
        with refusing(self.root):
            return shutil.disk_usage(self.root).free


def _unique(path: Path) -> str:
    return f"{path.name}-{secrets.token_hex(8)}"


def _taken(target: Path) -> Conflict:
    return Conflict(f"{target.name} exists already; choose another name or delete it first")


@contextmanager
def _refusing_volume_faults(target: Path) -> Iterator[None]:
    """Like ``refusing``, but lets a failed download inside the block through: it is an OSError of another kind."""
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        if error.errno is None or error.errno < 0:
            raise
        raise storage_error(error, target) from error


def make_durable_directory(path: Path) -> None:
    """Make ``path`` and its missing parents, and fsync the directories that got a new entry."""
    if path.is_dir():
        return
    make_durable_directory(path.parent)
    path.mkdir(exist_ok=True)
    fsync_directory(path.parent)


def _move_into_place(source: Path, target: Path) -> None:
    """Rename a directory that is not empty; the kernel refuses if another writer's directory is there by now."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) and os.path.lexists(target):
            raise _taken(target) from error
        raise
    try:
        fsync_directory(target.parent)
    except OSError:
        target.rename(source)
        raise


def last_touched(path: Path) -> float:
    """The newest modification time (seconds) in a tree: a long download touches its file, not the directory."""
    times = [path.lstat().st_mtime]
    times += [entry.lstat().st_mtime for entry in path.rglob("*")]
    return max(times)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
