"""Crash-safe files: a reader sees all of a write or none of it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from serving.errors import StorageError


def fsync_directory(path: Path) -> None:
    """Make the entries of directory ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` by a temporary name in the same directory, fsync, rename, fsync the directory.

    Raises StorageError when the volume refuses; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise storage_error(error, path) from error


def fsync_tree(root: Path) -> None:
    """Make every file and directory below ``root`` durable."""
    for directory, _, names in os.walk(root):
        for name in names:
            with (Path(directory) / name).open("rb") as file:
                os.fsync(file.fileno())
        fsync_directory(Path(directory))


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn the OSErrors of a block of file work into a StorageError about ``path``."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) from error


def storage_error(error: OSError, path: Path) -> StorageError:
    """A StorageError that says what the volume refused and why."""
    reason = error.strerror or str(error)
    return StorageError(f"cannot write {path}: {reason}; check the free space and permissions of the data directory")
