"""What is on a volume."""

from __future__ import annotations

from pathlib import Path


def files_below(root: Path) -> set[str]:
    """Every file and directory below ``root`` except the database's own files."""
    paths = (str(path.relative_to(root)) for path in root.rglob("*"))
    return {path for path in paths if not path.startswith("kubevoice.db")}
