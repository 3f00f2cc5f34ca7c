"""What TensorBoard shows of a run that was started more than once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from training.xtts.board import Board
from training.xtts.metrics import Measured


def measured(step: int, loss: float = 3.5) -> Measured:
    return Measured(step, 30, 0, loss, 4.0, 3.4, 1e-5, 0.7, 12.0, 60.0, 0)


def shown(directory: Path, curve: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(curve)]


@pytest.mark.parametrize(("checkpoint", "again"), [(0, (10, 20)), (20, (30,))])
def test_a_run_that_was_killed_shows_each_step_once_and_what_was_measured_last(
    tmp_path: Path, checkpoint: int, again: tuple[int, ...]
) -> None:
    board = Board(tmp_path, 0)
    board.validated(0, 4.0)
    for step in (10, 20, 30):
        board.step(measured(step, loss=1.0))
    board.close()
    board = Board(tmp_path, checkpoint)
    for step in again:
        board.step(measured(step, loss=2.0))
    board.close()
    kept = [(step, 1.0) for step in (10, 20) if step <= checkpoint]
    assert shown(tmp_path, "train_loss") == kept + [(step, 2.0) for step in again]
    assert shown(tmp_path, "val_loss") == [(0, 4.0)], "the base model's is not measured again"


def test_a_skipped_step_is_a_gap_in_the_curve_of_its_gradient_alone(tmp_path: Path) -> None:
    board = Board(tmp_path, 0)
    for row in (measured(1), replace(measured(2), grad_norm=None), measured(3)):
        board.step(row)
    board.close()
    assert [step for step, _ in shown(tmp_path, "grad_norm")] == [1, 3]
    assert [step for step, _ in shown(tmp_path, "train_loss")] == [1, 2, 3]
