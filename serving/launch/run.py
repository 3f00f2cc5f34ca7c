"""What became of a run, told from its Job and its attempts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from kubernetes import client

from serving.launch.attempt import Attempt, attempt
from serving.launch.base import FINAL_CODES, Run, State, joined

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
    attempts = sorted(map(attempt, pods), key=lambda each: (each.created_at, -each.index))
    state, reason = _state(job, metadata, attempts, warning)
    ended = [each for each in attempts if each.ended]
    code = (_culprit(ended) if state == "failed" else ended[-1]).exit_code if ended else None
    if code is None and state == "failed" and (found := re.search(r"exit code (\d+)", reason)):
        code = int(found[1])  # the pods are gone, and the condition remembers
    return Run(
        name=metadata.name,
        state=state,
        reason=reason,
        exit_code=code,
        pod=next((each.pod for each in reversed(attempts) if each.started and each.index == 0), None),  # rank 0 writes
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
    if any(each.phase == "Running" for each in attempts):
        return "running", ""
    return "queued", _wait(metadata.name or "", attempts, warning)


def _wait(job: str, attempts: Sequence[Attempt], warning: Callable[[str], str]) -> str:
    waiting = [each for each in reversed(attempts) if not each.ended]
    if waiting:
        return next((each.reason for each in waiting if each.reason), "") or warning(waiting[0].pod) or "starting"
    held = warning(job)
    if held or not attempts:
        return held or "its pod is not there yet"
    newest = {each.index: each for each in attempts}.values()
    failed = [each for each in newest if each.phase == "Failed"]
    return joined("starts again", _culprit(failed).reason) if failed else "ending"


def _culprit(ended: Sequence[Attempt]) -> Attempt:
    """Which of the attempts says why it failed: of several pods that end together the others were only stopped."""
    failed = [each for each in ended if each.phase == "Failed"]
    final = [each for each in failed if each.exit_code in FINAL_CODES]
    return (final or failed or ended)[-1]


def _failure(job: client.V1Job, condition: client.V1JobCondition, ended: Sequence[Attempt]) -> str:
    if condition.reason == "DeadlineExceeded":
        limit = job.spec.active_deadline_seconds if job.spec else None
        return f"took longer than {limit} s (activeDeadlineSeconds)"
    if not ended:
        return joined(condition.reason, condition.message)
    failed = (job.status and job.status.failed) or len(ended)
    return _culprit(ended).reason + (f" ({failed} attempts)" if failed > 1 else "")
