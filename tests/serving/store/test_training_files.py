"""run.json and status.json survive writing and reading, and bad ones are named."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from serving.errors import InvalidRequest, NotFound
from serving.store.training_files import (
    RUN_FILE,
    STATUS_FILE,
    RunSpec,
    RunStatus,
    TrainingSettings,
    read_run,
    read_status,
    write_run,
    write_status,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = RunSpec(tenant="default", name="ada-1", dataset="ada", settings=TrainingSettings(method="lora", epochs=3))
    write_run(tmp_path, run)
    assert read_run(tmp_path) == run


def test_a_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    status = RunStatus(state="training", step=3, train_loss=2.5, started_at=NOW, updated_at=NOW)
    write_status(tmp_path, status)
    assert read_status(tmp_path) == status


def test_a_torn_status_says_nothing(tmp_path: Path) -> None:
    (tmp_path / STATUS_FILE).write_text('{"state": "trai')
    assert read_status(tmp_path) is None


def test_a_missing_run_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=RUN_FILE):
        read_run(tmp_path)


def test_a_run_that_is_no_json_is_refused_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text("{")
    with pytest.raises(InvalidRequest, match=r"run\.json: Invalid JSON") as refused:
        read_run(tmp_path)
    assert refused.value.param is None


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"tenant": "t", "name": "n", "dataset": "d", "settings": {"epochs": 0}}', "settings.epochs"),
        ('{"tenant": "t", "name": "n", "dataset": "d", "settings": {"epoch": 1}}', "settings.epoch"),
        ('{"tenant": "t", "name": "n", "dataset": "../d"}', "dataset"),
        ('{"tenant": "t", "name": "n"}', "dataset"),
    ],
)
def test_a_bad_run_names_the_field(text: str, field: str, tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text(text)
    with pytest.raises(InvalidRequest) as refused:
        read_run(tmp_path)
    assert refused.value.param == field
