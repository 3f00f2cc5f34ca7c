"""One pod of a run: how far it came, and what stopped it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kubernetes import client

from serving.launch.base import exit_words, joined, spoken
from serving.launch.template import CONTAINER

INDEX = "batch.kubernetes.io/job-completion-index"
"""Annotation of the pods of an Indexed Job, and since Kubernetes 1.28 a label too."""

IMAGE_TROUBLE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
STARTING = {"ContainerCreating", "PodInitializing"}


@dataclass(frozen=True)
class Attempt:
    """``reason`` says why the pod is pending, or why it ended; empty where the pod itself does not tell.

    ``index`` is the pod's among those of its Job, 0 where there is one at a time.
    """

    pod: str
    index: int
    created_at: datetime
    phase: str
    started: bool
    exit_code: int | None
    reason: str

    @property
    def ended(self) -> bool:
        return self.phase in {"Succeeded", "Failed"}


def attempt(pod: client.V1Pod) -> Attempt:
    """The attempt that ``pod`` makes."""
    metadata, status = pod.metadata, pod.status
    assert status, "the API server sets it, and the name and the time below"
    assert metadata
    assert metadata.name
    assert metadata.creation_timestamp
    state = _command_state(status)
    ended = state.terminated if state else None
    phase = status.phase or "Pending"
    return Attempt(
        pod=metadata.name,
        index=int((metadata.annotations or {}).get(INDEX, 0)),
        created_at=metadata.creation_timestamp,
        phase=phase,
        started=state is not None and bool(state.running or state.terminated),
        exit_code=ended.exit_code if ended else None,
        reason=_ending(pod, status, ended) if phase == "Failed" else _waits(status) if phase == "Pending" else "",
    )


def _ending(pod: client.V1Pod, status: client.V1PodStatus, ended: client.V1ContainerStateTerminated | None) -> str:
    if ended and ended.reason == "OOMKilled":
        return f"out of memory, exit code {ended.exit_code}; its limit is {_memory_limit(pod)}"
    code = exit_words(ended.exit_code) if ended else ""
    for condition in status.conditions or []:
        if condition.type == "DisruptionTarget" and condition.status == "True":
            return joined(f"disrupted by Kubernetes ({condition.reason})", code, condition.message)
    if status.reason:  # Evicted, DeadlineExceeded, NodeLost
        return joined(status.reason, code, status.message)
    if ended is None:
        return "ended before its command started"
    lines = (ended.message or "").strip().splitlines()  # the end of the log, where the template asks for it
    return joined(code, spoken(lines[-1]) if lines else "")


def _waits(status: client.V1PodStatus) -> str:
    for condition in status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            prefix = "no node has room" if condition.reason == "Unschedulable" else condition.reason
            return joined(prefix, condition.message)
    preparing = status.init_container_statuses or []
    for container in [*preparing, *(status.container_statuses or [])]:
        waiting = container.state.waiting if container.state else None
        if waiting and waiting.reason in IMAGE_TROUBLE:
            return joined(f"the image {container.image} cannot be pulled", waiting.message)
        if waiting and waiting.reason and waiting.reason not in STARTING:
            return joined(waiting.reason, waiting.message)
    running = [container.name for container in preparing if container.state and container.state.running]
    return f"waits for {running[0]}" if running else ""


def _command_state(status: client.V1PodStatus) -> client.V1ContainerState | None:
    return next((each.state for each in status.container_statuses or [] if each.name == CONTAINER), None)


def _memory_limit(pod: client.V1Pod) -> str:
    containers = pod.spec.containers if pod.spec else []
    limits = next((each.resources.limits for each in containers if each.name == CONTAINER and each.resources), None)
    return str((limits or {}).get("memory", "its node's memory"))
