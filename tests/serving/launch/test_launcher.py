"""Runs against an emulated Kubernetes API."""

from __future__ import annotations

import copy

import pytest
import yaml

from serving.errors import ConfigurationError, Conflict, NotFound
from serving.launch import Launcher
from tests.factories.kubernetes_api import LOCAL_TEMPLATE, NAMESPACE, KubernetesApi

COMMAND = ["python", "-m", "trainer", "--epochs", "3"]


def test_a_run_is_the_template_with_its_name_command_environment_and_labels(
    api: KubernetesApi, launcher: Launcher
) -> None:
    run = launcher.start("alice-1", COMMAND, env={"EPOCHS": "3"}, labels={"kubevoice.io/tenant": "acme"})
    assert (run.name, run.state) == ("alice-1", "queued")
    job = api.job("alice-1")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == COMMAND
    assert {"name": "EPOCHS", "value": "3"} in container["env"]
    assert {"name": "KUBEVOICE_DATA", "value": "/data"} in container["env"]
    for owner in (job, job["spec"]["template"]):
        assert owner["metadata"]["labels"]["kubevoice.io/run"] == "alice-1"
        assert owner["metadata"]["labels"]["kubevoice.io/tenant"] == "acme"
    assert job["metadata"]["labels"]["app.kubernetes.io/instance"] == "voices"


def test_a_dataset_has_a_template_of_its_own_where_there_is_one(api: KubernetesApi, launcher: Launcher) -> None:
    launcher.start("one", COMMAND, kind="dataset")
    own = copy.deepcopy(LOCAL_TEMPLATE)
    own["spec"]["backoffLimit"] = 99
    api.add_template(dataset=yaml.safe_dump(own))
    launcher.start("two", COMMAND, kind="dataset")
    launcher.start("three", COMMAND)
    limits = [api.job(name)["spec"]["backoffLimit"] for name in ("one", "two", "three")]
    assert limits == [LOCAL_TEMPLATE["spec"]["backoffLimit"], 99, LOCAL_TEMPLATE["spec"]["backoffLimit"]]
    api.add_template(dataset="a: [")
    with pytest.raises(ConfigurationError, match=r"dataset-job\.yaml of ConfigMap .* is not YAML"):
        launcher.start("four", COMMAND, kind="dataset")


def test_a_name_that_is_taken_starts_nothing(api: KubernetesApi, launcher: Launcher) -> None:
    launcher.start("alice-1", COMMAND)
    with pytest.raises(Conflict, match=r"a Job named 'alice-1' exists already in namespace speech; choose another"):
        launcher.start("alice-1", ["other"])
    assert api.job("alice-1")["spec"]["template"]["spec"]["containers"][0]["args"] == COMMAND


def test_kubernetes_is_asked_to_refuse_unknown_fields(api: KubernetesApi, launcher: Launcher) -> None:
    launcher.start("alice-1", COMMAND)
    assert api.requests[-1].params["fieldValidation"] == "Strict"


def test_runs_are_listed_oldest_first_with_what_became_of_each(api: KubernetesApi, launcher: Launcher) -> None:
    for name in ("one", "two", "three"):
        launcher.start(name, COMMAND)
    api.finish("one")
    api.add_pod("two", "Running", {"running": {}})
    assert [(run.name, run.state) for run in launcher.runs()] == [
        ("one", "succeeded"),
        ("two", "running"),
        ("three", "queued"),
    ]


def test_runs_are_listed_by_label(launcher: Launcher) -> None:
    launcher.start("one", COMMAND, labels={"kubevoice.io/tenant": "acme"})
    launcher.start("two", COMMAND, labels={"kubevoice.io/tenant": "other"})
    assert [run.name for run in launcher.runs({"kubevoice.io/tenant": "acme"})] == ["one"]


def test_no_runs_are_an_empty_list(launcher: Launcher) -> None:
    assert launcher.runs() == []


def test_changes_tell_each_state_once_and_end_with_the_run(api: KubernetesApi, launcher: Launcher) -> None:
    launcher.start("alice-1", COMMAND)
    told = []
    for run in launcher.changes("alice-1"):
        told.append((run.state, run.exit_code))
        match run.state, run.exit_code:
            case "queued", None:
                pod = api.add_pod("alice-1", "Running", {"running": {}})
            case "running", None:
                api.set_pod(pod, "Failed", {"terminated": {"exitCode": 1}})
            case "queued", 1:
                api.add_pod("alice-1", "Succeeded", {"terminated": {"exitCode": 0}})
                api.finish("alice-1")
    assert told == [("queued", None), ("running", None), ("queued", 1), ("succeeded", 0)]


def test_stopping_deletes_this_very_job_and_its_pods(api: KubernetesApi, launcher: Launcher) -> None:
    run = launcher.start("alice-1", COMMAND)
    launcher.stop("alice-1")
    request = api.requests[-1]
    assert request.method.value == "DELETE"
    assert request.data["propagationPolicy"] == "Background"
    assert request.data["preconditions"] == {"uid": run.uid}
    with pytest.raises(NotFound, match=r"there is no run 'alice-1' in namespace speech"):
        launcher.status("alice-1")


@pytest.mark.parametrize("operation", ["status", "stop", "logs"])
def test_a_job_that_is_no_run_is_left_alone(api: KubernetesApi, launcher: Launcher, operation: str) -> None:
    launcher.start("alice-1", COMMAND)
    del api.emulator.objects["batch/v1/jobs", NAMESPACE, "alice-1"].raw["metadata"]["labels"]["kubevoice.io/run"]
    with pytest.raises(NotFound):
        getattr(launcher, operation)("alice-1")
    assert api.job("alice-1")


def test_a_stopped_run_is_ending_until_its_pods_have_saved(api: KubernetesApi, launcher: Launcher) -> None:
    launcher.start("alice-1", COMMAND)
    pod = api.add_pod("alice-1", "Running", {"running": {}})
    launcher.stop("alice-1")
    assert launcher.ending("alice-1")
    api.set_pod(pod, "Failed", {"terminated": {"exitCode": 143}})
    assert not launcher.ending("alice-1")
