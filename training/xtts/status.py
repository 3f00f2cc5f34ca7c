"""``status.json`` while a run goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.store.training_files import RunStatus, read_status, write_status

PERIOD_S = 15.0


class Status:
    """The status of the run in ``directory``, rewritten by every ``tell``; a resumed run goes on from the last.

    ``own`` raises if the run is another process's by now.
    """

    def __init__(self, directory: Path, own: Callable[[], None] = lambda: None) -> None:
        self._directory, self._own = directory, own
        self._told_at = -math.inf
        now = datetime.now(UTC)
        before = read_status(directory)
        fresh = RunStatus(state="preparing", started_at=now, updated_at=now)
        self.now = before.model_copy(update={"state": "preparing", "error": None, "export": None}) if before else fresh

    def tell(self, **fields: Any) -> None:
        """Change ``fields`` of the status and write it; raises StorageError and what ``own`` raises."""
        self._own()
        self.now = RunStatus.model_validate({**self.now.model_dump(), **fields, "updated_at": datetime.now(UTC)})
        write_status(self._directory, self.now)
        self._told_at = time.monotonic()

    def tell_sometimes(self, **fields: Any) -> None:
        """The same, unless something was told within the last ``PERIOD_S``."""
        if time.monotonic() - self._told_at >= PERIOD_S:
            self.tell(**fields)
