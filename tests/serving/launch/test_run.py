"""What is said of a run in each of the ways it can wait, run and end."""

from __future__ import annotations

from typing import Any

import pytest

from serving.errors import Unavailable
from serving.launch import Launcher, Run
from tests.factories.kubernetes_api import KubernetesApi

FAILED = {"kind": "Failed", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}


@pytest.fixture(autouse=True)
def _started(launcher: Launcher) -> None:
    launcher.start("r", ["true"])


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason}}


def after_failing(api: KubernetesApi, launcher: Launcher, state: dict[str, Any] | None, **status: Any) -> Run:
    api.add_pod("r", "Failed", state, **status)
    api.finish("r", **FAILED)
    return launcher.status("r")


def test_a_new_run_is_queued(launcher: Launcher) -> None:
    run = launcher.status("r")
    assert (run.state, run.reason, run.exit_code, run.pod) == ("queued", "its pod is not there yet", None, None)
    assert not run.finished


def test_a_run_that_kueue_holds_back_names_the_queue(api: KubernetesApi, launcher: Launcher) -> None:
    api.set_job("r", spec={"suspend": True}, metadata={"labels": {"kueue.x-k8s.io/queue-name": "gpus"}})
    run = launcher.status("r")
    assert (run.state, run.reason) == ("suspended", "waits for the queue gpus to admit it")


def test_a_run_that_someone_suspended_says_so(api: KubernetesApi, launcher: Launcher) -> None:
    api.set_job("r", spec={"suspend": True})
    assert launcher.status("r").reason == "spec.suspend is set"


def test_a_quota_that_refuses_the_pod_is_the_reason(api: KubernetesApi, launcher: Launcher) -> None:
    api.warn("other", "FailedCreate", "not this one")
    api.warn("r", "FailedCreate", "exceeded quota: training, requested: requests.nvidia.com/gpu=1, limited: 2")
    run = launcher.status("r")
    assert run.state == "queued"
    assert run.reason.startswith("FailedCreate: exceeded quota: training")


def test_no_right_to_read_events_costs_the_reason_only(api: KubernetesApi, launcher: Launcher) -> None:
    api.refuse("get /api/v1/namespaces/speech/events", 403, "cannot list resource events")
    assert launcher.status("r").reason == "its pod is not there yet"


def test_a_pod_that_fits_no_node_says_what_is_short(api: KubernetesApi, launcher: Launcher) -> None:
    short = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": short}
    api.add_pod("r", "Pending", None, conditions=[unscheduled])
    run = launcher.status("r")
    assert (run.state, run.reason) == ("queued", f"no node has room: {short}")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (waiting("ImagePullBackOff", "no such tag"), "the image kubevoice:0.1.0 cannot be pulled: no such tag"),
        (waiting("ErrImagePull"), "the image kubevoice:0.1.0 cannot be pulled"),
        (waiting("CreateContainerConfigError", "no Secret x"), "CreateContainerConfigError: no Secret x"),
        (waiting("ContainerCreating"), "starting"),
    ],
)
def test_a_pending_pod_says_why(api: KubernetesApi, launcher: Launcher, state: dict[str, Any], reason: str) -> None:
    api.add_pod("r", "Pending", state)
    run = launcher.status("r")
    assert (run.state, run.reason, run.pod) == ("queued", reason, None)


def test_a_volume_that_cannot_be_mounted_is_told_by_an_event(api: KubernetesApi, launcher: Launcher) -> None:
    pod = api.add_pod("r", "Pending", waiting("ContainerCreating"))
    api.warn(pod, "FailedMount", "connection timed out")
    assert launcher.status("r").reason == "FailedMount: connection timed out"


def test_an_init_container_at_work_is_named(api: KubernetesApi, launcher: Launcher) -> None:
    init = {"name": "weights", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": {"running": {}}}
    api.add_pod("r", "Pending", waiting("PodInitializing"), initContainerStatuses=[init])
    assert launcher.status("r").reason == "waits for weights"


def test_a_running_run_names_its_pod(api: KubernetesApi, launcher: Launcher) -> None:
    pod = api.add_pod("r", "Running", {"running": {}})
    run = launcher.status("r")
    assert (run.state, run.reason, run.pod) == ("running", "", pod)


def test_a_run_that_starts_again_says_why(api: KubernetesApi, launcher: Launcher) -> None:
    api.add_pod("r", "Failed", ended(143))
    run = launcher.status("r")
    assert (run.state, run.exit_code) == ("queued", 143)
    assert run.reason == "starts again: exit code 143 (told to stop, as preemption and drained nodes do)"


def test_the_last_attempt_counts(api: KubernetesApi, launcher: Launcher) -> None:
    api.add_pod("r", "Failed", ended(1))
    last = api.add_pod("r", "Running", {"running": {}})
    run = launcher.status("r")
    assert (run.state, run.pod, run.exit_code) == ("running", last, 1)


def test_a_run_that_succeeded_has_exit_code_0(api: KubernetesApi, launcher: Launcher) -> None:
    api.add_pod("r", "Succeeded", ended(0, "Completed"))
    api.finish("r")
    run = launcher.status("r")
    assert (run.state, run.reason, run.exit_code, run.finished) == ("succeeded", "", 0, True)


@pytest.mark.parametrize(
    ("code", "words"), [(42, "bad configuration"), (43, "out of GPU memory"), (137, "killed"), (143, "told to stop")]
)
def test_exit_codes_are_put_into_words(api: KubernetesApi, launcher: Launcher, code: int, words: str) -> None:
    run = after_failing(api, launcher, ended(code))
    assert (run.state, run.exit_code) == ("failed", code)
    assert run.reason.startswith(f"exit code {code} ({words}")


def test_other_exit_codes_are_the_commands_own(api: KubernetesApi, launcher: Launcher) -> None:
    assert after_failing(api, launcher, ended(3)).reason == "exit code 3"


def test_the_last_line_of_a_termination_message_is_told(api: KubernetesApi, launcher: Launcher) -> None:
    message = "Traceback (most recent call last):\n  File\nValueError: no clips\n"
    state = {"terminated": {"exitCode": 1, "message": message}}
    assert after_failing(api, launcher, state).reason == "exit code 1: ValueError: no clips"


def test_of_a_line_of_json_the_message_is_told(api: KubernetesApi, launcher: Launcher) -> None:
    state = {"terminated": {"exitCode": 1, "message": '{"level": "ERROR", "message": "the volume is full"}\n'}}
    assert after_failing(api, launcher, state).reason == "exit code 1: the volume is full"


def test_memory_that_ran_out_names_the_limit(api: KubernetesApi, launcher: Launcher) -> None:
    run = after_failing(api, launcher, ended(137, "OOMKilled"))
    assert run.reason == "out of memory, exit code 137; its limit is 32Gi"


def test_a_deadline_names_its_seconds(api: KubernetesApi, launcher: Launcher) -> None:
    api.set_job("r", spec={"activeDeadlineSeconds": 60})
    api.finish("r", "Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    run = launcher.status("r")
    assert (run.state, run.exit_code) == ("failed", None)
    assert run.reason == "took longer than 60 s (activeDeadlineSeconds)"


def test_an_eviction_is_told_in_kubernetes_words(api: KubernetesApi, launcher: Launcher) -> None:
    run = after_failing(api, launcher, None, reason="Evicted", message="The node was low on ephemeral-storage.")
    assert (run.reason, run.exit_code) == ("Evicted: The node was low on ephemeral-storage.", None)


def test_a_preemption_is_told_as_one(api: KubernetesApi, launcher: Launcher) -> None:
    target = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "by serving"}
    reason = after_failing(api, launcher, ended(143), conditions=[target]).reason
    assert reason.startswith("disrupted by Kubernetes (PreemptionByScheduler): exit code 143 (told to stop")
    assert reason.endswith(": by serving")


def test_attempts_are_counted(api: KubernetesApi, launcher: Launcher) -> None:
    api.add_pod("r", "Failed", ended(1))
    api.add_pod("r", "Failed", ended(2))
    api.finish("r", **FAILED, failed=2)
    run = launcher.status("r")
    assert (run.reason, run.exit_code) == ("exit code 2 (2 attempts)", 2)


def test_the_exit_code_outlives_the_pod(api: KubernetesApi, launcher: Launcher) -> None:
    message = "Container training for pod speech/r-x failed with exit code 42 matching FailJob rule at index 0"
    api.finish("r", "Failed", "PodFailurePolicy", message)
    run = launcher.status("r")
    assert (run.exit_code, run.reason) == (42, f"PodFailurePolicy: {message}")


def test_of_several_nodes_the_first_writes_the_log(api: KubernetesApi, launcher: Launcher) -> None:
    first = api.add_pod("r", "Running", {"running": {}}, 0)
    api.add_pod("r", "Running", {"running": {}}, 1)
    run = launcher.status("r")
    assert (run.state, run.pod) == ("running", first)


def test_a_run_goes_on_while_any_of_its_nodes_does(api: KubernetesApi, launcher: Launcher) -> None:
    first = api.add_pod("r", "Running", {"running": {}}, 0)
    api.add_pod("r", "Succeeded", ended(0, "Completed"), 1)
    run = launcher.status("r")
    assert (run.state, run.reason, run.pod) == ("running", "", first)


def test_a_node_that_finds_no_room_is_why_the_others_wait(api: KubernetesApi, launcher: Launcher) -> None:
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU"}
    api.add_pod("r", "Pending", waiting("ContainerCreating"), 0)
    api.add_pod("r", "Pending", None, 1, conditions=[unscheduled])
    assert launcher.status("r").reason == "no node has room: no GPU"


def test_a_run_whose_first_node_has_not_started_has_no_log_yet(api: KubernetesApi, launcher: Launcher) -> None:
    api.add_pod("r", "Pending", waiting("ContainerCreating"), 0)
    api.add_pod("r", "Running", {"running": {}}, 1)
    with pytest.raises(Unavailable, match="its first pod has not started"):
        launcher.logs("r")


@pytest.mark.parametrize("culprit", [0, 1])
def test_the_node_that_cannot_go_on_says_why_and_not_one_that_it_stopped(
    api: KubernetesApi, launcher: Launcher, culprit: int
) -> None:
    for index in (0, 1):
        api.add_pod("r", "Failed", ended(42 if index == culprit else 143), index)
    api.finish("r", **FAILED)
    run = launcher.status("r")
    assert (run.state, run.exit_code) == ("failed", 42)
    assert run.reason.startswith("exit code 42 (bad configuration)")


def test_a_node_that_failed_says_why_it_starts_again_and_not_one_that_is_done(
    api: KubernetesApi, launcher: Launcher
) -> None:
    api.add_pod("r", "Succeeded", ended(0, "Completed"), 0)
    api.add_pod("r", "Failed", ended(1), 1)
    run = launcher.status("r")
    assert (run.state, run.reason) == ("queued", "starts again: exit code 1")
