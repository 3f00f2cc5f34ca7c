"""Which epoch is the best, and when a run has had enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.xtts.validation import KEPT_SAMPLES, History, prune_samples, rewind


def history(*losses: float | None) -> History:
    """Of the base model and then of each epoch of ten steps."""
    rows: list[dict[str, Any]] = [
        {"step": 10 * epoch, "epoch": epoch, "val_loss": loss} for epoch, loss in enumerate(losses)
    ]
    return History(rows)


@pytest.mark.parametrize(
    ("losses", "step"),
    [((5.0, 4.0, 3.0, 3.5), 20), ((5.0, 3.0, 3.0), 10), ((1.0, 4.0, 3.0), 20), ((5.0, None, 6.0), 20)],
)
def test_the_best_is_the_first_of_the_lowest_that_were_trained(losses: tuple[float | None, ...], step: int) -> None:
    best = history(*losses).best
    assert best is not None
    assert best["step"] == step


def test_before_the_first_epoch_there_is_no_best() -> None:
    assert history(5.0).best is None
    assert history().best is None


@pytest.mark.parametrize(
    ("losses", "patience", "enough"),
    [
        ((5.0, 4.0, 4.5), 2, False),
        ((5.0, 4.0, 4.5, 4.1), 2, True),
        ((5.0, 4.0, 4.5, 3.9), 2, False),
        ((1.0, 4.0, 3.0), 2, True),  # training only harms
        ((5.0, 6.0, 7.0, 8.0), None, False),
        ((5.0,), 1, False),
    ],
)
def test_enough_is_no_fall_for_so_many_epochs(losses: tuple[float, ...], patience: int | None, enough: bool) -> None:
    assert history(*losses).is_enough(len(losses) - 1, patience) is enough


def test_rows_of_steps_that_are_taken_again_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    rewind(tmp_path, 0)
    assert not path.exists()
    path.write_text(json.dumps(history(5.0, 4.0, 3.0).rows))
    rewind(tmp_path, 10)
    assert [row["step"] for row in json.loads(path.read_text())] == [0, 10]


def test_of_samples_those_of_the_base_model_the_best_and_the_newest_stay(tmp_path: Path) -> None:
    known = history(5.0, 4.0, 1.0, *[3.0] * 10)
    for step in [row["step"] for row in known.rows] + [7]:
        (tmp_path / f"step-{step}").mkdir()
        (tmp_path / f"step-{step}" / "a.wav").write_bytes(b"")
    for _ in range(2):
        prune_samples(tmp_path, known)
        newest = range(10 * (13 - KEPT_SAMPLES), 130, 10)
        assert {path.name for path in tmp_path.iterdir()} == {f"step-{step}" for step in (0, 7, 20, *newest)}


def test_where_there_are_no_samples_nothing_is_to_be_removed(tmp_path: Path) -> None:
    prune_samples(tmp_path / "samples", history(*[5.0] * 20))
