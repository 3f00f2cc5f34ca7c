"""What became of a run, told from its Job and its attempts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from kubernetes import client

from serving.launch.attempt import Attempt, attempt
from serving.launch.base import Run, State, joined

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


def described(job: client.V1Job, pods: Sequence[client.V1Pod], warning: Callable[[str], str]) -> Run:
    """The run of ``job``. ``pods`` are all of its pods, ``warning(name)`` is the last thing Kubernetes warned of about
    the Job or pod of that name, empty if nothing; it is asked only where nothing else explains a wait.
    """
    metadata = job.metadata
    assert metadata, "the API server sets it, and what is asked of it below"
    assert metadata.name
    assert metadata.uid
    assert metadata.creation_timestamp
    attempts = sorted(map(attempt, pods), key=lambda each: each.created_at)
    state, reason = _state(job, metadata, attempts, warning)
    codes = [each.exit_code for each in attempts if each.ended]
    code = codes[-1] if codes else None
    if code is None and state == "failed" and (found := re.search(r"exit code (\d+)", reason)):
        code = int(found[1])  # the pods are gone, and the condition remembers
    return Run(
        name=metadata.name,
        state=state,
        reason=reason,
        exit_code=code,
        pod=next((each.pod for each in reversed(attempts) if each.started), None),
        created_at=metadata.creation_timestamp,
        uid=metadata.uid,
    )


def _state(
    job: client.V1Job, metadata: client.V1ObjectMeta, attempts: Sequence[Attempt], warning: Callable[[str], str]
) -> tuple[State, str]:
    conditions = (job.status and job.status.conditions) or []
    true = {condition.type: condition for condition in conditions if condition.status == "True"}
    if "Complete" in true:
        return "succeeded", ""
    if "Failed" in true:
        return "failed", _failure(job, true["Failed"], [each for each in attempts if each.ended])
    if job.spec and job.spec.suspend:
        queue = (metadata.labels or {}).get(QUEUE_LABEL)
        return "suspended", f"waits for the queue {queue} to admit it" if queue else "spec.suspend is set"
    if attempts and attempts[-1].phase == "Running":
        return "running", ""
    return "queued", _wait(metadata.name or "", attempts, warning)


def _wait(job: str, attempts: Sequence[Attempt], warning: Callable[[str], str]) -> str:
    last = attempts[-1] if attempts else None
    if last and not last.ended:
        return last.reason or warning(last.pod) or "starting"
    held = warning(job)
    if held or last is None:
        return held or "its pod is not there yet"
    return joined("starts again", last.reason) if last.phase == "Failed" else "ending"


def _failure(job: client.V1Job, condition: client.V1JobCondition, ended: Sequence[Attempt]) -> str:
    if condition.reason == "DeadlineExceeded":
        limit = job.spec.active_deadline_seconds if job.spec else None
        return f"took longer than {limit} s (activeDeadlineSeconds)"
    if not ended:
        return joined(condition.reason, condition.message)
    failed = (job.status and job.status.failed) or len(ended)
    return ended[-1].reason + (f" ({failed} attempts)" if failed > 1 else "")
