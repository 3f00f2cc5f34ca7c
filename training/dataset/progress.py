"""How far the preparation is: a bar on a terminal, else one JSON object a line; and status.json in any case."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.store.dataset_files import DatasetStatus, write_dataset_status

STATUS_PERIOD_S = 5.0


class Progress:
    """Counts recordings as they are done, and clips as they are made."""

    def __init__(self, directory: Path, total: int, every: int, bar: Any = None) -> None:
        self._directory, self._every, self._bar = directory, every, bar
        self.status = DatasetStatus(state="preparing", total=total)
        self._written, self._said = 0.0, 0
        self._task = bar.add_task("recordings", total=total) if bar else None

    def hears(self, name: str, seconds: float) -> None:
        """So much of the recording ``name`` has been read."""
        if self._bar is not None:
            minutes = f" ({seconds / 60:.0f} min)" if seconds >= 60 else ""
            self._bar.update(self._task, description=f"{name[-40:]}{minutes}")
        self._save(at_least_s=STATUS_PERIOD_S)

    def made(self, kept: int, dropped: int, seconds: float) -> None:
        """A recording is done."""
        status = self.status
        self.status = status.model_copy(
            update={
                "done": status.done + 1,
                "kept": status.kept + kept,
                "dropped": status.dropped + dropped,
                "seconds": round(status.seconds + seconds, 3),
            }
        )
        if self._bar is not None:
            self._bar.advance(self._task)
        clips = self.status.kept + self.status.dropped
        if clips // self._every > self._said or self.status.done == self.status.total:
            self._said = clips // self._every
            self.say("progress")
        self._save(at_least_s=STATUS_PERIOD_S)

    def say(self, event: str, **more: object) -> None:
        """One line for whoever reads logs; nothing where there is a bar."""
        if self._bar is None:
            facts = self.status.model_dump(mode="json", include={"done", "total", "kept", "dropped", "seconds"})
            sys.stdout.write(json.dumps({"event": event, **facts, **more}, ensure_ascii=False) + "\n")
            sys.stdout.flush()

    def _save(self, at_least_s: float) -> None:
        if time.monotonic() - self._written >= at_least_s:
            self._written = time.monotonic()
            write_dataset_status(self._directory, DatasetStatus(**self.status.model_dump(exclude={"updated_at"})))


@contextmanager
def progress(directory: Path, total: int, every: int) -> Iterator[Progress]:
    """A Progress, with a bar while the block runs if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield Progress(directory, total, every)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        yield Progress(directory, total, every, bars)
