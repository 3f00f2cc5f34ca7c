"""Records of datasets and runs that are made again from their folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete

from serving.store.database import Database
from serving.store.dataset_files import DATASET_FILE, DatasetStatus, write_dataset_status
from serving.store.datasets import Dataset, DatasetStore
from serving.store.record_file import RECORD_FILE
from serving.store.records import DatasetRow, TrainingRunRow
from serving.store.training_files import RUN_FILE, RunStatus, TrainingSettings, write_status
from serving.store.training_runs import TrainingRun, TrainingRunStore
from serving.store.volume import Volume
from tests.serving.training_runs import add_dataset


@pytest.fixture
def database(data_root: Path) -> Iterator[Database]:
    database = Database.for_volume(None, data_root)
    yield database
    database.close()


@pytest.fixture
def datasets(data_root: Path, database: Database) -> DatasetStore:
    return DatasetStore(Volume(data_root), database)


@pytest.fixture
def runs(data_root: Path, database: Database) -> TrainingRunStore:
    return TrainingRunStore(Volume(data_root), database)


@pytest.fixture
def dataset(datasets: DatasetStore, database: Database) -> Dataset:
    """One that is ready, as its files say too."""
    made = datasets.get("default", add_dataset(datasets.volume, database))
    write_dataset_status(made.directory, DatasetStatus(state="ready"))
    return made


@pytest.fixture
def run(runs: TrainingRunStore, dataset: Dataset) -> TrainingRun:
    """The second attempt of one, at work."""
    added = runs.add(
        tenant="default", name="Ada's", dataset=lambda: dataset.id, model="xtts_v2", revision="r1",
        settings=TrainingSettings(epochs=3), key="k-1", body=b"{}",
    )  # fmt: skip
    runs.lay(added)
    runs.move(added, only_from=["starting"], phase="finished", state="failed", reason="")
    assert runs.resume(added)
    again = runs.get("default", added.id)
    runs.lay(again)
    runs.move(again, only_from=["starting"], phase="started", state="queued", reason="")
    return runs.get("default", added.id)


def say(run: TrainingRun, state: str, later_s: float) -> None:
    at = run.attempted_at + timedelta(seconds=later_s)
    write_status(run.directory, RunStatus.model_validate({"state": state, "started_at": at, "updated_at": at}))


def lose_the_records(database: Database) -> None:
    with database.session() as session:
        session.execute(delete(TrainingRunRow))
        session.execute(delete(DatasetRow))


def test_datasets_and_runs_come_back_as_they_were(
    database: Database, datasets: DatasetStore, runs: TrainingRunStore, dataset: Dataset, run: TrainingRun
) -> None:
    lose_the_records(database)
    for _ in range(2):
        assert (datasets.reindex().count, datasets.reindex().skipped) == (1, [])
        assert (runs.reindex().count, runs.reindex().skipped) == (1, [])
    assert datasets.get("default", "Ada") == dataset
    assert runs.get("default", run.id) == run  # its second attempt too: the launcher knows it by that


def test_a_request_that_is_repeated_after_that_is_still_the_same_run(
    database: Database, datasets: DatasetStore, runs: TrainingRunStore, dataset: Dataset, run: TrainingRun
) -> None:
    lose_the_records(database)
    datasets.reindex()
    runs.reindex()
    again = runs.add(
        tenant="default", name=None, dataset=lambda: dataset.id, model="xtts_v2", revision=None,
        settings=TrainingSettings(), key="k-1", body=b"{}",
    )  # fmt: skip
    assert again.id == run.id


@pytest.mark.parametrize(
    ("state", "later_s", "phase"),
    [("succeeded", 1, "finished"), ("succeeded", -1, "started"), ("failed", 1, "started"), ("training", 1, "started")],
)
def test_only_what_this_attempt_finished_is_final_and_the_launcher_is_asked_about_the_rest(
    database: Database, runs: TrainingRunStore, run: TrainingRun, state: str, later_s: float, phase: str
) -> None:
    say(run, state, later_s)
    lose_the_records(database)
    runs.reindex()
    assert runs.get("default", run.id).phase == phase


def test_records_that_are_there_stay_as_they_are(
    database: Database, datasets: DatasetStore, runs: TrainingRunStore, dataset: Dataset, run: TrainingRun
) -> None:
    say(run, "succeeded", 1)
    shutil.rmtree(dataset.directory)
    assert (datasets.reindex().count, runs.reindex().count) == (1, 1)
    assert runs.get("default", run.id) == run
    assert datasets.get("default", dataset.id) == dataset


def test_a_folder_of_an_older_version_comes_back_under_its_id(
    database: Database, runs: TrainingRunStore, run: TrainingRun
) -> None:
    (run.directory / RECORD_FILE).unlink()
    lose_the_records(database)
    assert runs.reindex().count == 1
    found = runs.get("default", run.id)
    assert (found.name, found.attempt) == (run.id, 1)
    assert datetime.now(UTC) - found.created_at < timedelta(minutes=5)


def test_folders_that_are_broken_or_somebody_elses_are_named_and_left_alone(
    database: Database, datasets: DatasetStore, runs: TrainingRunStore, run: TrainingRun
) -> None:
    lose_the_records(database)
    top = run.directory.parent
    copied, torn, empty, by_hand = (*(top / f"run-{digit * 24}" for digit in "abc"), top / "narrator")
    shutil.copytree(run.directory, copied)
    for folder in (torn, empty, by_hand):
        folder.mkdir()
    (torn / RUN_FILE).write_text('{"tenant"')
    (by_hand / RUN_FILE).write_bytes((run.directory / RUN_FILE).read_bytes())
    (top / "a-file").write_text("")

    found = runs.reindex()

    assert found.count == 1
    assert len(found.skipped) == 5
    told = "\n".join(sorted(found.skipped))
    assert f"{copied} is left out: its run.json is that of default/{run.id}; it was copied or renamed" in told
    assert all(str(path) in told for path in (torn, empty, by_hand, top / "a-file"))
    assert "it was made by hand" in told
    assert all(path.is_dir() for path in (copied, torn, empty, by_hand))


def test_of_two_datasets_of_one_name_the_second_is_named(
    database: Database, datasets: DatasetStore, dataset: Dataset
) -> None:
    twin = dataset.directory.with_name("ds-" + "f" * 24)
    shutil.copytree(dataset.directory, twin)
    facts = json.loads((twin / DATASET_FILE).read_text())
    (twin / DATASET_FILE).write_text(json.dumps({**facts, "name": twin.name}))
    found = datasets.reindex()
    assert found.count == 1
    assert found.skipped == [f"dataset {twin} is left out: another one of its tenant has its name or Idempotency-Key"]
