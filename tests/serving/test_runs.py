"""From a record to exactly one Job, whatever the Kubernetes API or the process in between does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from serving import runs
from serving.errors import ConfigurationError, Conflict, KubevoiceError, NotFound, Overloaded
from serving.launch import Launcher, connect
from serving.launch.base import label_value
from serving.runs import Trainings
from serving.store.database import Database
from serving.store.records import TrainingRunRow
from serving.store.training_files import RunStatus, read_run, write_status
from serving.store.training_runs import TrainingRunStore
from serving.store.volume import Volume
from tests.factories.kubernetes_api import NAMESPACE, TEMPLATE, KubernetesApi, kubeconfig, running_api
from tests.serving.training_runs import add_dataset, record, the_only

JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{TEMPLATE}"
QUOTA = 'jobs.batch "x" is forbidden: exceeded quota: training, requested: count/jobs.batch=1'
FORBIDDEN = 'jobs.batch is forbidden: User "x" cannot create resource "jobs"'


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    with running_api() as api:
        api.add_template()
        yield api


@pytest.fixture
def database(data_root: Path) -> Iterator[Database]:
    database = Database.for_volume(None, data_root)
    yield database
    database.close()


@pytest.fixture
def store(tmp_path: Path, database: Database) -> TrainingRunStore:
    return TrainingRunStore(Volume(tmp_path / "data"), database)


@pytest.fixture
def trainings(
    api: KubernetesApi, store: TrainingRunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Trainings:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", api.url)))
    monkeypatch.setattr("serving.launch.launcher.TIMEOUT_S", (0.5, 0.5))
    return Trainings(store, Launcher(connect(), TEMPLATE, poll_s=0.02, patience_s=0.2))


@pytest.fixture
def dataset(store: TrainingRunStore, database: Database) -> str:
    return add_dataset(store.volume, database)


def make_old(database: Database, seconds: float = runs.SETTLE_S + 1) -> None:
    """As if every attempt had been asked for that long ago."""
    with database.session() as session:
        session.execute(update(TrainingRunRow).values(attempted_at=datetime.now(UTC) - timedelta(seconds=seconds)))


def jobs(api: KubernetesApi) -> list[str]:
    return [name for (resource, _, name), item in api.emulator.objects.items()
            if str(resource.plural) == "jobs" and not item.deleted]  # fmt: skip


def test_a_run_is_a_folder_and_a_job_that_works_in_it(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, dataset: str
) -> None:
    run = trainings.start(record(store, dataset))
    assert (run.phase, run.state) == ("started", "queued")
    assert jobs(api) == [f"{run.id}-1"]
    (container,) = api.job(run.job)["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["python", "-m", "training.xtts", str(run.directory)]
    assert api.job(run.job)["metadata"]["labels"]["kubevoice.io/id"] == run.id
    assert read_run(run.directory).dataset == dataset


@pytest.mark.parametrize("tenant", ["acme", "Acme_1.x-y", "acme-", "acme_", "acme.", "a" * 64])
def test_every_tenant_has_jobs_with_labels_that_kubernetes_takes(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, dataset: str, tenant: str
) -> None:
    run = trainings.start(record(store, dataset, tenant=tenant))
    assert run.phase == "started"
    label = api.job(run.job)["metadata"]["labels"]["kubevoice.io/tenant"]
    assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", label)
    assert (label == tenant) == (tenant in {"acme", "Acme_1.x-y"})
    assert label == label_value(tenant) != label_value(f"{tenant}x")


@pytest.mark.parametrize("what", [f"get {MAPS}", f"post {JOBS}"])
@pytest.mark.parametrize("status", [409, 429, 500, 503, 504])  # 409 without "AlreadyExists": two count on one quota
def test_a_busy_api_server_at_any_step_ends_in_one_job(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, database: Database, dataset: str, what: str,
    status: int,
) -> None:  # fmt: skip
    api.fail_once(what, status)
    run = trainings.start(record(store, dataset))
    assert (run.phase, run.state) == ("starting", "queued")
    assert run.reason.startswith("is started as soon as possible: the Kubernetes API")
    same = trainings.start(record(store, dataset))  # the client asks again, with its key
    assert (same.id, same.phase) == (run.id, "started")
    make_old(database)
    trainings.sync()
    assert jobs(api) == [run.job]


def test_a_start_is_taken_up_by_whoever_looks_after_runs(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, database: Database, dataset: str
) -> None:
    api.fail_once(f"post {JOBS}", 500)
    run = trainings.start(record(store, dataset))
    other = Trainings(store, trainings.launcher)
    other.sync()
    assert the_only(store).phase == "starting", "it is young: its own process may be at it"
    make_old(database)
    other.sync()
    other.sync()
    assert the_only(store).phase == "started"
    assert jobs(api) == [run.job]


def test_a_flooded_api_server_is_left_alone_for_as_long_as_it_asks(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, database: Database, dataset: str
) -> None:
    api.fail_once(f"post {JOBS}", 429, retry_after_s=120)
    trainings.start(record(store, dataset))
    make_old(database)
    before = len(api.requests)
    trainings.sync()
    assert len(api.requests) == before


def test_a_lost_answer_to_the_creation_is_one_job(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, database: Database, dataset: str
) -> None:
    """The API server takes the Job, and the connection breaks before it says so."""
    launcher = trainings.launcher
    run = record(store, dataset)
    launcher.start(run.job, trainings.command(run))
    again = trainings.start(run)
    assert (again.phase, jobs(api)) == ("started", [run.job])


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [(403, FORBIDDEN, ConfigurationError), (403, QUOTA, Overloaded), (422, "is invalid", ConfigurationError)],
)
def test_a_refusal_is_a_clear_error_and_leaves_nothing(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, dataset: str, status: int, message: str,
    kind: type[KubevoiceError],
) -> None:  # fmt: skip
    api.refuse(f"post {JOBS}", status, message)
    run = record(store, dataset)
    with pytest.raises(kind):
        trainings.start(run)
    assert (jobs(api), store.list("default", 10)) == ([], [])
    assert not run.directory.exists()


def test_a_quota_that_the_first_of_two_starts_used_up_does_not_refuse_the_second(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, dataset: str
) -> None:
    run = record(store, dataset)
    trainings.launcher.start(run.job, trainings.command(run))
    api.refuse(f"post {JOBS}", 403, QUOTA)
    assert trainings.start(run).phase == "started"


def test_a_refusal_that_comes_later_is_written_down(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, database: Database, dataset: str
) -> None:
    api.fail_once(f"post {JOBS}", 500)
    trainings.start(record(store, dataset))
    api.refuse(f"post {JOBS}", 403, FORBIDDEN)
    make_old(database)
    Trainings(store, trainings.launcher).sync()
    run = the_only(store)
    assert (run.phase, run.state) == ("finished", "failed")
    assert "the right to create jobs.batch in namespace speech is missing" in run.reason


def test_a_start_without_any_answer_is_given_up_after_an_hour(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, database: Database, dataset: str
) -> None:
    api.fail_once(f"post {JOBS}", 500)
    trainings.start(record(store, dataset))
    make_old(database, runs.GIVE_UP_S + 1)
    Trainings(store, trainings.launcher).sync()
    run = the_only(store)
    assert (run.phase, run.state, jobs(api)) == ("finished", "failed", [])
    assert run.reason.startswith("could not be started: ")


@pytest.mark.parametrize("what", [f"get {JOBS}", f"get /api/v1/namespaces/{NAMESPACE}/pods"])
def test_a_cluster_that_does_not_answer_costs_the_news_only(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, dataset: str, what: str
) -> None:
    run = trainings.start(record(store, dataset))
    api.refuse(what, 500, "etcdserver: request timed out")
    assert trainings.seen(run) == trainings.all_seen([run])[0] == run


def test_states_are_those_of_the_job_and_its_pods(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, dataset: str
) -> None:
    run = trainings.start(record(store, dataset))
    api.set_job(run.job, spec={"suspend": True}, metadata={"labels": {"kueue.x-k8s.io/queue-name": "gpus"}})
    assert (trainings.seen(run).state, trainings.seen(run).reason) == (
        "suspended",
        "waits for the queue gpus to admit it",
    )
    api.set_job(run.job, spec={"suspend": False})
    api.add_pod(run.job, "Running", {"running": {}})
    assert [each.state for each in trainings.all_seen([run])] == ["running"]
    api.finish(run.job)
    assert trainings.seen(run).state == "succeeded"
    assert the_only(store).phase == "finished"


def test_what_has_ended_is_written_down_before_its_job_is_removed(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, dataset: str
) -> None:
    run = trainings.start(record(store, dataset))
    api.finish(run.job)
    trainings.sync()
    del api.emulator.objects["batch/v1/jobs", NAMESPACE, run.job]
    assert trainings.seen(the_only(store)).state == "succeeded"


@pytest.mark.parametrize(
    ("said", "state", "reason"),
    [
        (None, "failed", runs.GONE),
        ("training", "failed", runs.GONE),
        ("succeeded", "succeeded", ""),
        ("stopped", "cancelled", ""),
        ("failed", "failed", "the GPU is gone"),
    ],
)
def test_of_a_run_whose_job_is_gone_the_trainer_has_the_last_word(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, dataset: str, said: Any, state: str, reason: str
) -> None:
    run = trainings.start(record(store, dataset))
    if said is not None:
        now = datetime.now(UTC)
        error = "the GPU is gone" if said == "failed" else None
        write_status(run.directory, RunStatus(state=said, error=error, started_at=now, updated_at=now))
    del api.emulator.objects["batch/v1/jobs", NAMESPACE, run.job]
    ended = trainings.seen(run)
    assert (ended.phase, ended.state, ended.reason) == ("finished", state, reason)


def test_cancelling_deletes_the_job_and_waits_for_its_pods_to_save(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, dataset: str
) -> None:
    run = trainings.start(record(store, dataset))
    pod = api.add_pod(run.job, "Running", {"running": {}})
    cancelled = trainings.cancel(run)
    assert (cancelled.phase, cancelled.state, cancelled.reason, jobs(api)) == (
        "cancelling",
        "running",
        runs.STOPPING,
        [],
    )
    trainings.sync()
    assert the_only(store).phase == "cancelling"
    api.set_pod(pod, "Failed", {"terminated": {"exitCode": 143}})
    trainings.sync()
    assert (the_only(store).phase, the_only(store).state) == ("finished", "cancelled")
    with pytest.raises(Conflict, match="has been cancelled already"):
        trainings.cancel(the_only(store))


@pytest.mark.parametrize("status", [429, 500, 504])
def test_a_cancellation_that_the_api_server_does_not_take_is_repeated(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, dataset: str, status: int
) -> None:
    run = trainings.start(record(store, dataset))
    api.fail_once(f"delete {JOBS}/{run.job}", status)
    assert trainings.cancel(run).phase == "cancelling"
    assert jobs(api) == [run.job]
    other = Trainings(store, trainings.launcher)
    other.sync()
    other.sync()
    assert (jobs(api), the_only(store).state) == ([], "cancelled")


def test_a_run_that_is_cancelled_while_it_is_started_has_no_job(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, dataset: str
) -> None:
    run = record(store, dataset)
    assert trainings.cancel(run).state == "cancelled"
    trainings.start(run)  # by a process that has read the record before
    assert jobs(api) == []
    assert the_only(store).state == "cancelled"


def test_a_run_that_was_taken_back_while_it_is_started_has_no_job(
    api: KubernetesApi, trainings: Trainings, store: TrainingRunStore, dataset: str
) -> None:
    run = record(store, dataset)
    store.drop(run)
    with pytest.raises(NotFound):
        trainings.start(run)
    assert jobs(api) == []
