"""Runs from the command line, against an emulated Kubernetes API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serving.cli import app
from serving.launch import Launcher
from tests.factories.kubernetes_api import PODS, TEMPLATE, KubernetesApi, kubeconfig, running_api


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    monkeypatch.setenv("KUBEVOICE_LAUNCH__TEMPLATE", TEMPLATE)
    with running_api() as api:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", api.url)))
        api.add_template()
        yield api


def launch(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["launch", *arguments])


def controller(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A Job controller: each look at a run finds it one step further, until its command has ended with ``code``."""
    look = Launcher.status

    def step(launcher: Launcher, name: str) -> object:
        run = look(launcher, name)
        pods = [key[2] for key in api.emulator.objects if f"{key[0].plural}" == PODS.split("/")[-1]]
        if not pods:
            api.add_pod(name, "Pending", {"waiting": {"reason": "ErrImagePull", "message": "registry is slow"}})
        elif run.pod is None:
            api.set_pod(pods[0], "Running", {"running": {}})
            api.answer(f"get /api/v1/namespaces/speech/pods/{pods[0]}/log", b"2026-01-01T00:00:01.000000000Z epoch 1\n")
        elif run.state == "running":
            api.set_pod(pods[0], "Failed" if code else "Succeeded", {"terminated": {"exitCode": code}})
            api.finish(name, "Failed" if code else "Complete")
        return run

    monkeypatch.setattr(Launcher, "status", step)
    monkeypatch.setattr("time.sleep", lambda _: None)


def test_a_run_is_started_from_the_template(api: KubernetesApi) -> None:
    result = launch("run", "check-1", "--env", "A=b=c", "--env", "EMPTY=", "--", "kubevoice", "doctor", "--deep")
    assert (result.exit_code, result.stderr) == (0, "check-1 is started\n")
    (container,) = api.job("check-1")["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["kubevoice", "doctor", "--deep"]
    assert {"name": "A", "value": "b=c"} in container["env"]
    assert {"name": "EMPTY", "value": ""} in container["env"]


@pytest.mark.parametrize("code", [0, 42])
def test_following_tells_why_it_waits_prints_the_log_and_exits_as_the_command(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    controller(api, monkeypatch, code)
    result = launch("run", "r", "--follow", "--", "true")
    assert result.exit_code == code
    assert result.stdout == "epoch 1\n"
    end = "r is failed: exit code 42 (bad configuration)" if code else "r is succeeded"
    assert result.stderr.splitlines() == [
        "r is started",
        "r is queued: its pod is not there yet",
        "r is queued: the image kubevoice:0.1.0 cannot be pulled: registry is slow",
        "r is running",
        end,
    ]


def test_waiting_prints_no_log(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    controller(api, monkeypatch, 0)
    result = launch("run", "r", "--wait", "--", "true")
    assert (result.exit_code, result.stdout) == (0, "")


def test_a_log_that_is_lost_does_not_hide_how_the_run_ended(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch("run", "r", "--", "true")
    pod = api.add_pod("r", "Failed", {"terminated": {"exitCode": 42}})
    api.finish("r", "Failed")
    api.refuse(f"get /api/v1/namespaces/speech/pods/{pod}/log", 400, "unable to retrieve container logs")
    result = launch("logs", "r", "--follow")
    assert result.exit_code == 42
    assert "the rest of the log is missing: Kubernetes refuses to get pods/log: unable to retrieve" in result.stderr


def test_a_failure_without_an_exit_code_is_1(api: KubernetesApi) -> None:
    launch("run", "r", "--", "true")
    api.finish("r", "Failed", "DeadlineExceeded")
    assert launch("logs", "r", "--follow").exit_code == 1


def test_ctrl_c_leaves_the_run_and_says_so(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupted)
    result = launch("run", "r", "--wait", "--", "true")
    assert result.exit_code == 130
    assert "r goes on; see: kubevoice launch logs r --follow" in result.stderr
    assert api.job("r")


def test_runs_are_listed_and_stopped(api: KubernetesApi) -> None:
    for name in ("one", "two"):
        launch("run", name, "--", "true")
    api.add_pod("two", "Running", {"running": {}})
    assert launch("list").stdout.splitlines()[1].startswith("two\trunning\t2026-01-01 00:00")
    listed = json.loads(launch("list", "--json").stdout)
    assert [(run["name"], run["state"], run["exit_code"]) for run in listed] == [
        ("one", "queued", None),
        ("two", "running", None),
    ]
    assert launch("stop", "one").stdout == "one is stopped\n"
    assert launch("stop", "two").exit_code == 0
    assert launch("list").stderr == "no runs yet; see: kubevoice launch run\n"


def test_a_log_is_printed(api: KubernetesApi) -> None:
    launch("run", "r", "--", "true")
    pod = api.add_pod("r", "Running", {"running": {}})
    api.answer(f"get /api/v1/namespaces/speech/pods/{pod}/log", b"2026-01-01T00:00:01.000000000Z epoch 1\n")
    assert launch("logs", "r").stdout == "epoch 1\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "Bad_Name", "--", "true"], "the name 'Bad_Name' cannot be used"),
        (["run", "r", "--env", "A", "--", "true"], "--env A: write NAME=VALUE"),
        (["logs", "nobody"], "there is no run 'nobody' in namespace speech"),
        (["stop", "nobody"], "there is no run 'nobody' in namespace speech"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(api: KubernetesApi, arguments: list[str], words: str) -> None:
    result = launch(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {words}")
    assert len(result.stderr.splitlines()) == 1


def test_without_a_template_the_setting_is_named(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEVOICE_LAUNCH__TEMPLATE")
    result = launch("run", "r", "--", "true")
    assert result.exit_code == 2
    assert "set KUBEVOICE_LAUNCH__TEMPLATE" in result.stderr


def test_another_namespace_can_be_set(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEVOICE_LAUNCH__NAMESPACE", "other")
    launch("list")
    assert api.requests[-1].namespace == "other"


def test_no_cluster_is_exit_code_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    result = launch("list")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: there is no Kubernetes cluster to talk to")
