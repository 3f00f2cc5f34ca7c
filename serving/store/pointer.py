"""Which revision of a model serves and which ones did before: ``current`` and ``history`` in the model's directory.

A process may die between the writes of the two files, so entries at the end of the history that are current anyway
do not count: then every state between two writes is the one before the move or the one after it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import Conflict, ModelFilesError, NotFound
from serving.files import write_atomic
from serving.store.volume import is_safe_name

POINTER = "current"
HISTORY = "history"

KEPT = 32
"""Revisions that the history remembers."""

LOCK_WAIT_S = 10.0
LOCK_POLL_S = 0.02
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)
"""A network volume without locks, or none for directories: of two moves at once one may be forgotten, no worse."""


class Pointer:
    """The pointer of the model in the directory ``model``."""

    def __init__(self, model: Path) -> None:
        self.model = model

    def read(self) -> str | None:
        """What the pointer says, which may be no revision; None without one. Raises ModelFilesError."""
        return _read(self.model / POINTER)

    def history(self) -> list[str]:
        """The revisions that were current before, the latest last. Raises ModelFilesError."""
        past, current = self._lines(), self.read()
        while past and past[-1] == current:
            past.pop()
        return past

    def move(self, revision: str, before: str | None) -> None:
        """Make ``revision`` current; ``before`` is what is current without a pointer. Raises StorageError."""
        with self._locked():
            current = self.read()
            if current == revision:
                return
            left = current if current is not None and self._is_revision(current) else before
            if left not in (None, revision):
                self._write_history([*self.history(), left or ""])
            self._write(revision)

    def move_back(self, revision: str | None, check: Callable[[Path], None]) -> str:
        """Make the latest revision of the history current that is still there, or ``revision``; returns its name.

        ``check`` refuses a directory that cannot serve. Raises NotFound when the history has no such revision.
        """
        with self._locked():
            current, past = self.read(), self.history()
            if revision is not None and revision == current:
                return revision
            wanted = [at for at, name in enumerate(past) if name != current and revision in (None, name)]
            there = [at for at in wanted if self._is_revision(past[at])]
            if not there:
                raise self._nothing_before(revision)
            target = past[there[-1]]
            check(self.model / target)
            self._write_history(past[: there[-1] + 1])  # a death after the next write must not lead forward again
            self._write(target)
            self._write_history(past[: there[-1]])
            return target

    def _nothing_before(self, revision: str | None) -> NotFound:
        where = f"{self.model.parent.name} model {self.model.name!r}"
        if revision is not None:
            return NotFound(
                f"revision {revision[:80]!r} of {where} was not current before; promote it instead, if it is listed",
                param="revision",
            )
        return NotFound(
            f"{where} has no revision to go back to: none was current before; promote the one you want",
            param="revision",
        )

    def _is_revision(self, name: str) -> bool:
        return is_safe_name(name) and (self.model / name).is_dir()

    def _lines(self) -> list[str]:
        return [line for line in (_read(self.model / HISTORY) or "").split("\n") if is_safe_name(line)]

    def _write(self, revision: str) -> None:
        write_atomic(self.model / POINTER, f"{revision}\n".encode())

    def _write_history(self, past: list[str]) -> None:
        if past != self._lines():
            write_atomic(self.model / HISTORY, "".join(f"{name}\n" for name in past[-KEPT:]).encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One move at a time, where the volume has locks; raises Conflict if another takes too long."""
        descriptor = os.open(self.model, os.O_RDONLY | os.O_DIRECTORY)
        try:
            deadline = time.monotonic() + LOCK_WAIT_S
            while not _lock(descriptor):
                if time.monotonic() >= deadline:
                    raise Conflict(f"another process is promoting a revision of {self.model.name}; try again")
                time.sleep(LOCK_POLL_S)
            yield
        finally:
            os.close(descriptor)


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode(errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelFilesError(f"cannot read {path}: {error.strerror}; remove it and promote a revision") from error


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True
