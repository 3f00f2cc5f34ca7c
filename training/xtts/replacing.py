"""A folder that appears all at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.files import fsync_directory, fsync_tree, refusing

NEW = ".new"


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``target`` at the end, durably and in place of what was there.

    An error of the block leaves nothing behind, and what killed processes have left beside ``target`` goes first, under
    whatever name: a run that went back makes other steps. One process at a time may write there. Raises StorageError.
    """
    staging = target.with_name(f".{target.name}{NEW}")
    try:
        with refusing(target):
            for left in target.parent.glob(f".*{NEW}"):
                shutil.rmtree(left, ignore_errors=True)
            staging.mkdir(parents=True)
        yield staging
        with refusing(target):
            fsync_tree(staging)
            if target.exists():
                shutil.rmtree(target)
            staging.rename(target)
            fsync_directory(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
