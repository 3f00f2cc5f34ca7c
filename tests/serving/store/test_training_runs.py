"""Records of datasets and training runs, on both databases."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from serving.errors import Conflict, NotFound
from serving.store.database import Database
from serving.store.dataset_files import DatasetSpec
from serving.store.datasets import Dataset, DatasetStore
from serving.store.training_files import TrainingSettings
from serving.store.training_runs import TrainingRun, TrainingRunStore
from serving.store.volume import Volume

SPEC = DatasetSpec(tenant="acme", name="new", language="en", consent="yes")


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    volume = Volume(tmp_path / "data")
    volume.create()
    return volume


@pytest.fixture
def datasets(volume: Volume, database: Database) -> DatasetStore:
    return DatasetStore(volume, database)


@pytest.fixture
def runs(volume: Volume, database: Database) -> TrainingRunStore:
    return TrainingRunStore(volume, database)


def fill(raw: Path) -> None:
    (raw / "a.wav").write_bytes(b"RIFF")


def ready(datasets: DatasetStore, name: str = "Ada") -> Dataset:
    made = datasets.add(name, SPEC, fill)
    datasets.move(made, only_from=["starting"], phase="finished", state="succeeded", reason="")
    return datasets.get("acme", made.id)


def add(runs: TrainingRunStore, dataset: Dataset, key: str | None = None, body: bytes = b"{}") -> TrainingRun:
    return runs.add(
        tenant="acme", name=None, dataset=lambda: dataset.id, model="m", revision=None, settings=TrainingSettings(),
        key=key, body=body,
    )  # fmt: skip


def end(runs: TrainingRunStore, run: TrainingRun) -> None:
    assert runs.move(run, only_from=["starting"], phase="finished", state="failed", reason="no GPU")


def test_of_many_requests_with_one_key_at_once_one_is_recorded(runs: TrainingRunStore, datasets: DatasetStore) -> None:
    dataset, made = ready(datasets), []
    threads = [threading.Thread(target=lambda: made.append(add(runs, dataset, "k").id)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 6
    assert len(set(made)) == len(runs.list("acme", 10)) == 1


def test_a_key_belongs_to_its_tenant_and_its_body(runs: TrainingRunStore, datasets: DatasetStore) -> None:
    dataset = ready(datasets)
    add(runs, dataset, "k")
    with pytest.raises(Conflict, match="sent with another body"):
        add(runs, dataset, "k", b"[]")
    with pytest.raises(NotFound):
        runs.get("other", runs.list("acme", 1)[0].id)
    assert runs.list("other", 10) == []


def test_a_dataset_that_is_not_ready_trains_nothing(runs: TrainingRunStore, datasets: DatasetStore) -> None:
    with pytest.raises(Conflict, match="is not ready: its preparation is queued"):
        add(runs, datasets.add("Ada", SPEC, fill))
    dataset = ready(datasets, "Eve")
    datasets.delete(dataset)
    with pytest.raises(Conflict, match="is gone"):
        add(runs, dataset)


def test_a_dataset_stays_as_it_is_while_a_run_uses_it(runs: TrainingRunStore, datasets: DatasetStore) -> None:
    dataset = ready(datasets)
    run = add(runs, dataset)
    for change in (lambda: datasets.delete(dataset), lambda: datasets.extend(dataset, fill)):
        with pytest.raises(Conflict, match=f"is used by training run {run.id}"):
            change()
    assert [path.name for path in (dataset.directory / "raw").iterdir()] == ["a.wav"]
    end(runs, run)
    assert datasets.extend(dataset, fill).attempt == 2
    with pytest.raises(Conflict, match="is being prepared"):
        datasets.extend(datasets.get("acme", "Ada"), fill)


def test_a_dataset_is_deleted_or_trained_on_but_never_both(runs: TrainingRunStore, datasets: DatasetStore) -> None:
    for number in range(4):
        dataset = ready(datasets, f"Ada {number}")
        done: list[str] = []

        def attempt(what: str, dataset: Dataset = dataset, done: list[str] = done) -> None:
            try:
                datasets.delete(dataset) if what == "delete" else add(runs, dataset)
            except Conflict:
                return
            done.append(what)

        threads = [threading.Thread(target=attempt, args=[what]) for what in ("delete", "train")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(done) == 1


def test_a_record_moves_from_where_it_was_seen_and_in_its_own_attempt(
    runs: TrainingRunStore, datasets: DatasetStore
) -> None:
    run = add(runs, ready(datasets))
    assert not runs.resume(run)
    end(runs, run)
    assert not runs.move(run, only_from=["starting"], phase="started", state="queued", reason="")
    ended = runs.get("acme", run.id)
    assert (ended.phase, ended.state, ended.reason, ended.job) == ("finished", "failed", "no GPU", f"{run.id}-1")
    assert runs.resume(ended)
    assert not runs.resume(ended)
    assert not runs.move(ended, only_from=["starting"], phase="finished", state="failed", reason="late")
    assert runs.get("acme", run.id).job == f"{run.id}-2"
    assert [each.id for each in runs.unfinished()] == [run.id]


def test_a_run_that_has_not_finished_is_not_forgotten(runs: TrainingRunStore, datasets: DatasetStore) -> None:
    run = add(runs, ready(datasets))
    runs.lay(run)
    runs.lay(run)
    with pytest.raises(Conflict, match="cancel it first"):
        runs.delete(run)
    end(runs, run)
    runs.delete(run)
    assert not run.directory.exists()
    with pytest.raises(NotFound, match="there is no training run"):
        runs.get("acme", run.id)


def test_nothing_is_left_of_a_dataset_that_cannot_be_filled(datasets: DatasetStore, volume: Volume) -> None:
    def fails(_: Path) -> None:
        raise Conflict("no")

    with pytest.raises(Conflict, match="no"):
        datasets.add("Ada", SPEC, fails)
    assert datasets.list("acme", 10) == []
    assert not list((volume.root / ".staging").iterdir())
    assert not (volume.root / "datasets" / "acme").exists()
