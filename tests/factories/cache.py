"""Model files that tests share: built once per user and version of what builds them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock

VERSIONS = ("torch", "transformers", "tokenizers", "safetensors", "faiss-cpu", "coqui-tts")
UNUSED_AFTER = 24 * 3600  # seconds until what an older text built goes


def cached(name: str, sources: Sequence[Path], build: Callable[[Path], object]) -> Path:
    """The directory that ``build`` filled, made anew when the text of ``sources`` or a library's version changes."""
    root = Path(tempfile.gettempdir()) / f"kubevoice-factories-{os.getuid()}"
    target = root / f"{name}-{_fingerprint(sources)}"
    root.mkdir(mode=0o700, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            building = Path(tempfile.mkdtemp(dir=root))
            try:
                build(building)
                building.rename(target)
            finally:
                shutil.rmtree(building, ignore_errors=True)
            _remove_unused(root, name)
    os.utime(target)
    return target


def _remove_unused(root: Path, name: str) -> None:
    for other in root.glob(f"{name}-{'[0-9a-f]' * 16}"):
        if other.stat().st_mtime < time.time() - UNUSED_AFTER:
            shutil.rmtree(other, ignore_errors=True)


def _fingerprint(sources: Sequence[Path]) -> str:
    text = [source.read_text(encoding="utf-8") for source in sources]
    versions = [importlib.metadata.version(name) for name in VERSIONS]
    return hashlib.sha256("\n".join([*text, *versions]).encode()).hexdigest()[:16]
