"""Records of runs, and a dataset that they train on."""

from __future__ import annotations

from pathlib import Path

from serving.store.database import Database
from serving.store.dataset_files import DatasetSpec
from serving.store.datasets import DatasetStore
from serving.store.training_files import TrainingSettings
from serving.store.training_runs import TrainingRun, TrainingRunStore
from serving.store.volume import Volume


def add_dataset(volume: Volume, database: Database) -> str:
    """A dataset that is ready."""
    datasets = DatasetStore(volume, database)
    spec = DatasetSpec(tenant="default", name="new", language="en", consent="yes")

    def fill(raw: Path) -> None:
        (raw / "a.wav").write_bytes(b"a")

    made = datasets.add("Ada", spec, fill)
    datasets.move(made, only_from=["starting"], phase="finished", state="succeeded", reason="")
    return made.id


def record(store: TrainingRunStore, dataset: str, key: str | None = "k-1", tenant: str = "default") -> TrainingRun:
    return store.add(
        tenant=tenant, name=None, dataset=lambda: dataset, model="xtts_v2", revision=None,
        settings=TrainingSettings(), key=key, body=b"{}",
    )  # fmt: skip


def the_only(store: TrainingRunStore) -> TrainingRun:
    (run,) = store.list("default", 10)
    return run
