"""What a run shows to who watches it: a bar on a terminal, a line of the log a step elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from training.xtts.metrics import Measured

log = logging.getLogger(__name__)


class Display:
    """Shows the way through ``steps``, if it is ``visible``. ``close`` leaves the terminal as it was."""

    def __init__(self, *, visible: bool = True) -> None:
        self._visible = visible
        self._bar: Any = None
        self._task: Any = None
        self._val = ""
        if visible and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[detail]}"), console=Console(stderr=True))
            self._bar.start()
            _log_to_stderr()
            self._task = self._bar.add_task("preparing", total=None, detail="")

    def preparing(self, done: int, total: int) -> None:
        """``done`` of ``total`` clips are ready."""
        if self._bar is not None:
            self._bar.update(self._task, description="preparing", completed=done, total=total)
        elif self._visible and (done == total or done % 100 == 0):
            log.info("prepared clips", extra={"fields": {"done": done, "total": total}})

    def moved(self, epoch: int, step: int, steps: int) -> None:
        """Every step, logged or not."""
        if self._bar is not None:
            self._bar.update(self._task, description=f"epoch {epoch + 1}", completed=step, total=steps)

    def logged(self, measured: Measured) -> None:
        if self._bar is not None:
            self._bar.update(self._task, detail=f"loss {measured.train_loss:.4f}{self._val}")
        else:
            fields = {name: _rounded(value) for name, value in asdict(measured).items()}
            log.info("step", extra={"fields": fields})

    def begins(self, fields: Mapping[str, object]) -> None:
        """What is going to be trained, once everything is ready."""
        if self._bar is None:
            log.info("training", extra={"fields": dict(fields)})

    def validated(self, epoch: int, step: int, val_loss: float | None, best_val_loss: float | None) -> None:
        """After ``epoch`` epochs; 0 is the base model."""
        if self._bar is not None:
            self._val = "" if val_loss is None else f", validation {val_loss:.4f}"
            return
        losses = {"val_loss": val_loss, "best_val_loss": best_val_loss}
        rounded = {name: _rounded(loss) for name, loss in losses.items()}
        log.info("validated", extra={"fields": {"epoch": epoch, "step": step, **rounded}})

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            _log_to_stderr()


def _log_to_stderr() -> None:
    """Let loggers write to what standard error is now: while there is a bar, rich's, which puts lines above it."""
    for name in ("serving", "training"):
        for handler in logging.getLogger(name).handlers:
            if type(handler) is logging.StreamHandler:
                handler.setStream(sys.stderr)


def stopping(show: Callable[[int, int], None], check: Callable[[], None]) -> Callable[[int, int], None]:
    """``show``, with a look at whether to stop before each call."""

    def progress(done: int, total: int) -> None:
        check()
        show(done, total)

    return progress


def _rounded(value: float | None) -> float | None:
    return value if value is None or isinstance(value, int) else float(f"{value:.6g}")
