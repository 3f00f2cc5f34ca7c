"""Progress for people and for logs."""

from __future__ import annotations

import json
import os
import pty
import select
import sys
from pathlib import Path

import pytest

from serving.store.dataset_files import read_dataset_status
from training.dataset.progress import progress


def test_without_a_terminal_there_is_a_line_for_every_so_many_clips_and_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(tmp_path, 5, every=4) as shown:
        for _ in range(5):
            shown.hears("a.wav", 1.0)
            shown.made(kept=1, dropped=1, seconds=2.0)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["done"] for line in lines] == [2, 4, 5]
    assert lines[-1] == {"event": "progress", "done": 5, "total": 5, "kept": 5, "dropped": 5, "seconds": 10.0}


def test_the_status_says_preparing_from_the_start(tmp_path: Path) -> None:
    with progress(tmp_path, 3, every=4) as shown:
        shown.hears("a.wav", 0.1)
    status = read_dataset_status(tmp_path)
    assert status is not None
    assert (status.state, status.done, status.total) == ("preparing", 0, 3)


def test_a_terminal_gets_a_bar_and_no_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = pty.openpty()
    with os.fdopen(ours, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress(tmp_path, 2, every=1) as shown:
            shown.hears("long.wav", 125.0)
            shown.made(kept=1, dropped=0, seconds=2.0)
            shown.made(kept=1, dropped=0, seconds=2.0)
        written = _until(theirs, "2/2")
    os.close(theirs)
    assert "long.wav (2 min)" in written
    assert "2/2" in written
    assert capsys.readouterr().out == ""


def _until(terminal: int, text: str) -> str:
    """What was written up to ``text``: a terminal hands over no more at once than it likes."""
    written = ""
    while text not in written and select.select([terminal], [], [], 10)[0]:
        written += os.read(terminal, 65536).decode()
    return written
