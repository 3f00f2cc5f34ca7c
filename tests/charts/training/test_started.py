"""What the API starts on a cluster, from the chart's own templates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from serving.launch import Launcher, connect
from serving.runs import Preparations, Trainings
from serving.store.database import Database
from serving.store.dataset_files import DatasetSpec
from serving.store.datasets import Dataset, DatasetStore
from serving.store.training_files import TrainingSettings
from serving.store.training_runs import TrainingRunStore
from serving.store.volume import Volume
from tests.charts.rendering import one, render
from tests.factories.kubernetes_api import KubernetesApi, kubeconfig, running_api

CONFIG_MAP = "voices-kubevoice-training-template"


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    """A Kubernetes API with the chart's ConfigMap for training on two nodes of four GPUs."""
    data = one(render({"training": {"nodes": 2, "gpus": 4}}), "ConfigMap", CONFIG_MAP)["data"]
    with running_api() as api:
        api.add_template(data["job.yaml"], CONFIG_MAP, data["dataset-job.yaml"])
        yield api


@pytest.fixture
def launcher(api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", api.url)))
    return Launcher(connect(), CONFIG_MAP)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[tuple[Volume, Database]]:
    volume = Volume(tmp_path / "data")
    volume.create()
    database = Database.for_volume(None, volume.root)
    database.migrate()
    yield volume, database
    database.close()


def stored(volume: Volume, database: Database) -> tuple[DatasetStore, Dataset]:
    datasets = DatasetStore(volume, database)
    spec = DatasetSpec(tenant="acme", name="anna", language="en", consent="Anna agreed on 1 May")
    return datasets, datasets.add("anna", spec, lambda raw: (raw / "a.wav").touch())


def container(job: dict[str, Any]) -> dict[str, Any]:
    for version in ("1.29", "1.33", "1.37"):
        kubernetes_validate.validate(job, version, strict=True)
    (found,) = job["spec"]["template"]["spec"]["containers"]
    checked: dict[str, Any] = found
    return checked


def test_a_dataset_is_prepared_in_one_pod_without_a_gpu(
    api: KubernetesApi, launcher: Launcher, records: tuple[Volume, Database]
) -> None:
    datasets, dataset = stored(*records)
    Preparations(datasets, launcher).start(dataset)
    job = api.job(dataset.job)
    assert container(job)["args"][:3] == ["python", "-m", "training.dataset"]
    assert container(job)["resources"]["limits"] == {"memory": "8Gi"}
    assert "completions" not in job["spec"]


def test_a_run_trains_on_every_gpu_of_every_node(
    api: KubernetesApi, launcher: Launcher, records: tuple[Volume, Database]
) -> None:
    datasets, dataset = stored(*records)
    datasets.move(dataset, only_from=["starting"], phase="finished", state="succeeded", reason="")
    runs = TrainingRunStore(*records)
    run = runs.add(
        tenant="acme",
        name=None,
        dataset=lambda: dataset.id,
        model="xtts_v2",
        revision=None,
        settings=TrainingSettings(),
        key=None,
        body=b"",
    )
    Trainings(runs, launcher).start(run)
    job = api.job(run.job)
    assert container(job)["args"][:3] == ["python", "-m", "training.xtts"]
    assert container(job)["resources"]["limits"] == {"memory": "32Gi", "nvidia.com/gpu": "4"}
    assert (job["spec"]["completions"], job["spec"]["completionMode"]) == (2, "Indexed")
    assert len(f"{run.job}-0") <= 63, "the host name of its first pod"
