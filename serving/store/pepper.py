"""The secret that digests of API keys are made with: without it a stolen database tells nothing about keys."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

from serving.errors import StorageError
from serving.files import fsync_directory, refusing

FILE = ".pepper"
FORM = re.compile(rb"[0-9a-f]{64}")


def pepper(root: Path, given: str | None) -> bytes:
    """``given``, else that of the data directory ``root``, where the first to ask makes it; raises StorageError."""
    if given is not None:
        return given.encode()
    path = root / FILE
    if not path.exists():
        _make(path)
    with refusing(path):
        found = path.read_bytes().strip()
    if not FORM.fullmatch(found):
        raise StorageError(
            f"{path} does not hold what kubevoice wrote there; restore it from a backup, or delete it and make new keys"
        )
    return found


def _make(path: Path) -> None:
    """Whole or not at all, readable by the owner alone; of several who make it at once the first one's stays."""
    temporary = path.with_name(f"{FILE}.{secrets.token_hex(4)}.tmp")
    with refusing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_hex(32).encode())
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
            fsync_directory(path.parent)
        finally:
            temporary.unlink()
