"""From a run to the model that serves, and back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from serving.settings import Settings
from serving.store.manifest import write_manifest
from serving.store.models import ModelStore
from serving.store.voices import VoiceStore
from tests.serving.api.standin import StandIn
from tests.serving.api.training_client import RUNS, WAIT_S, client_of, start, until_ended
from tests.serving.store.test_promotion import VERIFIED, fill
from tests.serving.training_runs import add_dataset


@pytest.fixture
def models(store: VoiceStore) -> ModelStore:
    """A volume on which the released model serves."""
    models = ModelStore(store.volume)
    with models.publish("xtts", "xtts_v2", "released", {}) as directory:
        fill(directory, "released")
    return models


@pytest.fixture
def client(store: VoiceStore, settings: Settings, models: ModelStore) -> Iterator[TestClient]:
    add_dataset(store.volume, store.database)
    launcher = StandIn(settings.data / "launch")
    yield client_of(store, settings, launcher)
    launcher.stop_all(WAIT_S)


def exported(client: TestClient, models: ModelStore, revision: str) -> str:
    """The path of a run that has ended and exported ``revision``."""
    run = start(client).json()["id"]
    until_ended(client, f"{RUNS}/{run}")
    export = models.volume.training_run("default", run) / "export" / revision
    export.mkdir(parents=True)
    fill(export, revision)
    write_manifest(export, {"run": run, "verified": VERIFIED})
    return f"{RUNS}/{run}"


def serves(models: ModelStore, name: str = "xtts_v2") -> str | None:
    current = models.current("xtts", name)
    return None if current is None else current.revision


def test_what_a_run_exported_serves_until_it_is_taken_back(client: TestClient, models: ModelStore) -> None:
    path = exported(client, models, "ada-1")
    served = client.post(f"{path}/promote").json()
    assert served == {"object": "model.revision", "model": "xtts_v2", "revision": "ada-1"}
    assert client.post(f"{path}/promote").json() == served
    assert serves(models) == "ada-1"
    assert client.post(f"{path}/rollback").json()["revision"] == "released"
    assert serves(models) == "released"


def test_a_run_takes_back_only_what_is_its_own(client: TestClient, models: ModelStore) -> None:
    first, second = exported(client, models, "ada-1"), exported(client, models, "ada-2")
    for path in (first, second):
        assert client.post(f"{path}/promote").status_code == 200
    answer = client.post(f"{first}/rollback")
    assert (answer.status_code, answer.json()["error"]["param"]) == (409, "model")
    assert "'ada-2' of 'xtts_v2' serves, not this run's 'ada-1'" in answer.json()["error"]["message"]
    assert serves(models) == "ada-2"


def test_another_model_may_serve_it(client: TestClient, models: ModelStore) -> None:
    path = exported(client, models, "ada-1")
    assert client.post(f"{path}/promote", json={"model": "ada"}).json()["model"] == "ada"
    assert (serves(models, "ada"), serves(models)) == ("ada-1", "released")
    assert client.post(f"{path}/promote", json={"model": "../x"}).json()["error"]["param"] == "model"


def test_a_damaged_export_is_not_promoted(client: TestClient, models: ModelStore) -> None:
    path = exported(client, models, "ada-1")
    export = models.volume.training_run("default", path.rpartition("/")[2]) / "export" / "ada-1"
    (export / "model.safetensors").write_text("zeros")
    answer = client.post(f"{path}/promote")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_files")
    assert serves(models) == "released"
