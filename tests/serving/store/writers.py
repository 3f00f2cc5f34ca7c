"""Work on a volume in a process of its own, so that a test can race it, limit it or kill it.

A writer says ``ready`` when its imports are done, starts on a line from stdin, and ends with one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from serving.errors import KubevoiceError, NotFound
from serving.store.database import Database
from serving.store.models import ModelStore
from serving.store.promotion import promote_export
from serving.store.voices import VoiceStore
from serving.store.volume import Volume

REPOSITORY = Path(__file__).parents[3]
MODULE = "tests.serving.store.writers"
LARGE = bytes(4 * 1024 * 1024)


def add(root: str, url: str) -> None:
    database = Database(url)
    try:
        VoiceStore(Volume(Path(root)), database).add(
            tenant="acme", name="Nova", references=[LARGE], reference_seconds=3.0
        )
    finally:
        database.close()


def migrate(_root: str, url: str) -> None:
    database = Database(url)
    try:
        database.migrate()
    finally:
        database.close()


def publish(root: str) -> None:
    with ModelStore(Volume(Path(root))).publish("xtts", "base", "r1", {}) as staging:
        (staging / "model.pth").write_bytes(LARGE)


def promote_and_roll_back(root: str, export: str) -> None:
    models = ModelStore(Volume(Path(root)))
    for _ in range(20):
        promote_export(models, Path(export), "base")
        with suppress(NotFound):  # the other has gone back further
            models.rollback("xtts", "base")
    promote_export(models, Path(export), "base")


def create(root: str) -> None:
    Volume(Path(root)).create()


def publish_and_hang(root: str) -> None:
    with ModelStore(Volume(Path(root))).publish("xtts", "base", "r1", {}) as staging:
        (staging / "model.pth").write_bytes(LARGE)
        _say("writing")
        time.sleep(60)


def start(action: Callable[..., None], *arguments: object, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start ``action`` in a process, by way of the command ``prefix``."""
    command = [*prefix, sys.executable, "-m", MODULE, action.__name__, *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run_together(writers: Sequence[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """Let the writers go at the same moment; what each one ended with, its ``error`` and the ``files`` it saw."""
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    return [json.loads(writer.communicate(timeout=150)[0]) for writer in writers]


def files_below(root: Path) -> list[str]:
    """The files and links of the volume, without the SQLite database; other writers may be at work in it."""
    found = (Path(folder, name).relative_to(root) for folder, _, names in os.walk(root) for name in names)
    return sorted(str(path) for path in found if not str(path).startswith("records.db"))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(action: str, *arguments: str) -> None:
    _say("ready")
    sys.stdin.readline()
    result: dict[str, Any] = {"error": None, "message": ""}
    try:
        globals()[action](*arguments)
    except KubevoiceError as error:
        result = {"error": type(error).__name__, "message": error.message}
    _say(json.dumps({**result, "files": files_below(Path(arguments[0]))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
