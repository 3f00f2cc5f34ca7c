"""What is shown on a terminal, and elsewhere."""

from __future__ import annotations

import io
import logging
import re
import sys

import pytest

from training.xtts.metrics import Measured
from training.xtts.progress import Display, stopping
from training.xtts.signals import Stopped

MEASURED = Measured(3, 9, 1, 3.25, 4.0, 3.2, 1e-5 / 3, 0.7, 12.0, 60.0, 0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_bar_with_the_loss(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with caplog.at_level(logging.INFO, "training"):
        display = Display()
        display.preparing(1, 4)
        display.begins({"steps": 9})
        display.validated(1, 2, 3.5, 3.5)
        display.moved(1, 3, 9)
        display.logged(MEASURED)
        display.close()
    assert "epoch 2" in terminal.getvalue()
    assert "3/9" in terminal.getvalue()
    assert "loss 3.2500, validation 3.5000" in terminal.getvalue()
    assert not caplog.records


def test_a_line_of_the_log_stands_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    logger = logging.getLogger("training")
    handler = logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    try:
        display = Display()
        logger.warning("a clip is left out")
        display.close()
        logger.warning("the end")
    finally:
        logger.removeHandler(handler)
    lines = re.split("[\r\n]|\x1b\\[[?0-9]*[A-Za-z]", terminal.getvalue())
    assert {"a clip is left out", "the end"} <= set(lines), "each has a line of its own"


def test_elsewhere_a_logged_step_is_a_line_with_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "training"):
        display = Display()
        display.moved(1, 3, 9)
        display.logged(MEASURED)
        display.close()
    (record,) = caplog.records
    fields = record.__dict__["fields"]
    assert (fields["step"], fields["steps"], fields["train_loss"]) == (3, 9, 3.25)
    assert fields["learning_rate"] == 3.33333e-06


def test_elsewhere_the_beginning_and_each_validation_are_lines_too(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "training"):
        display = Display()
        display.begins({"train_clips": 90, "steps": 9})
        display.validated(0, 0, None, None)
        display.validated(1, 3, 2.125, 2.125)
        display.close()
    told = [(record.message, record.__dict__["fields"]) for record in caplog.records]
    assert told == [
        ("training", {"train_clips": 90, "steps": 9}),
        ("validated", {"epoch": 0, "step": 0, "val_loss": None, "best_val_loss": None}),
        ("validated", {"epoch": 1, "step": 3, "val_loss": 2.125, "best_val_loss": 2.125}),
    ]


def test_other_ranks_show_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "training"):
        Display(visible=False).preparing(4, 4)
    assert not caplog.records


def test_preparing_can_be_stopped_between_two_clips() -> None:
    shown: list[int] = []

    def check() -> None:
        if len(shown) == 2:
            raise Stopped

    progress = stopping(lambda done, total: shown.append(done), check)
    progress(1, 8)
    progress(2, 8)
    with pytest.raises(Stopped):
        progress(3, 8)
    assert shown == [1, 2]
