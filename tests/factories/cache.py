"""Model files that tests share: built once per user and version of what builds them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock

VERSIONS = ("torch", "transformers", "safetensors", "faiss-cpu")


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
    return target


def _fingerprint(sources: Sequence[Path]) -> str:
    text = [source.read_text(encoding="utf-8") for source in sources]
    versions = [importlib.metadata.version(name) for name in VERSIONS]
    return hashlib.sha256("\n".join([*text, *versions]).encode()).hexdigest()[:16]
