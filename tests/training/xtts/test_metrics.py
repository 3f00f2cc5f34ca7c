"""metrics.jsonl has each logged step once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from training.xtts.metrics import Measured, Metrics


def measured(step: int) -> Measured:
    return Measured(step, 9, 0, 3.5, 4.0, 3.4, 1e-5, 0.7, 12.0, 60.0, 0)


def steps(metrics: Metrics) -> list[int]:
    return [json.loads(line)["step"] for line in metrics.path.read_text().splitlines()]


def test_a_run_that_goes_back_forgets_what_it_will_measure_again(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    for step in (2, 4, 6):
        metrics.add(measured(step))
    metrics.rewind(5)
    assert steps(metrics) == [2, 4]
    metrics.add(measured(6))
    assert steps(metrics) == [2, 4, 6]


def test_a_step_that_was_skipped_has_null_where_json_has_no_number(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.add(replace(measured(2), grad_norm=None))
    with pytest.raises(ValueError, match="not JSON compliant"):
        metrics.add(replace(measured(4), grad_norm=float("nan")))
    assert '"grad_norm": null' in metrics.path.read_text()
    assert steps(metrics) == [2]


def test_a_line_that_was_being_written_is_dropped(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.add(measured(2))
    with metrics.path.open("a") as file:
        file.write('{"step": 4, "steps"')
    metrics.rewind(4)
    metrics.add(measured(4))
    assert steps(metrics) == [2, 4]


def test_a_new_run_has_nothing_to_forget(tmp_path: Path) -> None:
    Metrics(tmp_path).rewind(0)
    assert not (tmp_path / "metrics.jsonl").exists()
