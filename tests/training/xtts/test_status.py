"""status.json over several starts of one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.store.training_files import read_status
from training.xtts import status as status_file
from training.xtts.lock import LockLost
from training.xtts.status import Status


def test_a_later_start_knows_when_the_first_was_and_forgets_its_error(tmp_path: Path) -> None:
    first = Status(tmp_path)
    first.tell(state="failed", error="the volume is full", val_loss=3.5)
    Status(tmp_path).tell(device="cpu")
    status = read_status(tmp_path)
    assert status is not None
    assert (status.state, status.error, status.val_loss, status.device) == ("preparing", None, 3.5, "cpu")
    assert status.started_at == first.now.started_at
    assert status.updated_at > first.now.updated_at


def test_who_has_lost_the_run_tells_nothing(tmp_path: Path) -> None:
    def own() -> None:
        raise LockLost("another has it")

    with pytest.raises(LockLost):
        Status(tmp_path, own).tell(step=1)
    assert read_status(tmp_path) is None


def test_slow_steps_are_told_as_they_come_and_fast_ones_only_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = Status(tmp_path)
    monkeypatch.setattr(status_file, "PERIOD_S", 3600.0)
    for step in (1, 2, 3):
        status.tell_sometimes(step=step)
    assert (read := read_status(tmp_path)) is not None
    assert read.step == 1
    monkeypatch.setattr(status_file, "PERIOD_S", 0.0)
    for step in (4, 5):
        status.tell_sometimes(step=step)
    assert (read := read_status(tmp_path)) is not None
    assert read.step == 5
