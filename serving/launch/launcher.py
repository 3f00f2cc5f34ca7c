"""Starts, lists, follows and stops runs."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from kubernetes import client

from serving.errors import ConfigurationError, Conflict, NotFound, Unavailable
from serving.launch import logs, template
from serving.launch.base import Kind, Run, Watch, changes, check_name
from serving.launch.cluster import RETRY_AFTER_S, TIMEOUT_S, Cluster
from serving.launch.permissions import CREATE_JOBS, DELETE_JOBS, GET_TEMPLATE, LIST_EVENTS, LIST_JOBS, LIST_PODS
from serving.launch.run import described
from serving.launch.template import RUN_LABEL

Answer = TypeVar("Answer")


class Launcher:
    """The runs of one namespace. Safe to use from several threads; every request ends after ``TIMEOUT_S``.

    Every method may raise ConfigurationError (no right, no or a bad template) and Unavailable (the cluster does not
    answer). ``poll_s`` is the time between two looks at a run, ``patience_s`` how long ``changes`` and a followed log
    put up with a cluster that does not answer.
    """

    def __init__(
        self, cluster: Cluster, config_map: str | None, *, poll_s: float = 2.0, patience_s: float = 120.0
    ) -> None:
        self._cluster = cluster
        self._config_map = config_map
        self._jobs = client.BatchV1Api(cluster.api)
        self._core = client.CoreV1Api(cluster.api)
        self._poll_s = poll_s
        self._patience_s = patience_s

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        kind: Kind = "training",
    ) -> Run:
        """Start ``command`` as run ``name``, which is the Job's name too, from the template for ``kind``.

        Raises InvalidRequest (a name, command or variable that cannot be used), Conflict (the name is taken: a start
        that is repeated after a lost answer never starts a second Job) and Overloaded (a quota on Jobs).
        """
        text, source = self._template(kind)
        job = template.filled(
            template.parsed(text, source), source, name=name, command=command, env=env or {}, labels=labels or {}
        )
        try:
            with self._cluster.asking(CREATE_JOBS):
                created = self._jobs.create_namespaced_job(
                    self._cluster.namespace, job, field_validation="Strict", _request_timeout=TIMEOUT_S
                )
        except Conflict:
            raise Conflict(
                f"a Job named {name!r} exists already in namespace {self._cluster.namespace}; choose another name, or "
                "stop that one first",
                param="name",
            ) from None
        return described(created, [], _silent)

    def runs(self, labels: Mapping[str, str] | None = None) -> list[Run]:
        """Every run that has ``labels``, oldest first."""
        selector = ",".join([RUN_LABEL, *(f"{key}={value}" for key, value in (labels or {}).items())])
        jobs = self._jobs_of(selector)
        pods = defaultdict(list)
        for pod in self._pods_of(selector) if jobs else []:
            pods[_run_label(pod.metadata)].append(pod)
        runs = [described(job, pods[_run_label(job.metadata)], _silent) for job in jobs]
        return sorted(runs, key=lambda run: (run.created_at, run.name))

    def status(self, name: str) -> Run:
        """Run ``name``; raises NotFound."""
        return described(self._job(name), self._pods_of(f"{RUN_LABEL}={name}"), self._warning)

    def changes(self, name: str) -> Iterator[Run]:
        """Run ``name`` whenever something about it has changed, until it has finished."""
        return changes(lambda: self._patiently(lambda: self.status(name)), self._poll_s)

    def logs(
        self, name: str, *, follow: bool = False, tail: int | None = None, watch: Watch | None = None
    ) -> Iterator[str]:
        """The lines that the last attempt of run ``name`` wrote; with ``follow`` until it ends or ``watch`` closes.

        Raises NotFound, and Unavailable where nothing has been written yet.
        """
        run = self.status(name)
        if run.pod is None:
            why = "its pods are gone" if run.finished else run.reason or "its first pod has not started"
            raise Unavailable(f"run {name!r} has no log: {why}")
        if not follow:
            return logs.read(self._cluster, run.pod, tail)

        def ended() -> bool:
            try:
                now = self._patiently(lambda: self.status(name))
            except NotFound:
                return True  # stopped, and its pod is about to follow
            return now.state != "running" or now.pod != run.pod

        watch = watch or Watch()
        return logs.follow(self._cluster, run.pod, ended, tail=tail, pause_s=self._poll_s, watch=watch)

    def stop(self, name: str) -> None:
        """Stop run ``name`` and forget it: its Job and pods are deleted, its files stay. Raises NotFound."""
        run = described(self._job(name), [], _silent)
        only_this = client.V1Preconditions(uid=run.uid)  # not a later one of the same name
        with self._cluster.asking(DELETE_JOBS):
            self._jobs.delete_namespaced_job(
                run.name,
                self._cluster.namespace,
                body=client.V1DeleteOptions(propagation_policy="Background", preconditions=only_this),
                _request_timeout=TIMEOUT_S,
            )

    def ending(self, name: str) -> bool:
        """Whether pods of run ``name``, whose Job is deleted, are still at work: they save what they have."""
        check_name(name)
        pods = self._pods_of(f"{RUN_LABEL}={name}")
        return any(pod.status is None or pod.status.phase not in {"Succeeded", "Failed"} for pod in pods)

    def _template(self, kind: Kind) -> tuple[str | None, str]:
        """(text, where it comes from). A ConfigMap without a template for datasets has one for both."""
        if not self._config_map:
            raise ConfigurationError(
                "no Job template is named: set KUBEVOICE_LAUNCH__TEMPLATE to the ConfigMap that the chart makes, "
                "<release>-kubevoice-training-template",
                param="launch.template",
            )
        source = f"ConfigMap {self._config_map} in namespace {self._cluster.namespace}"
        try:
            with self._cluster.asking(GET_TEMPLATE):
                found = self._core.read_namespaced_config_map(
                    self._config_map, self._cluster.namespace, _request_timeout=TIMEOUT_S
                )
        except NotFound:
            raise ConfigurationError(
                f"{source} does not exist; the chart makes it (training.enabled), KUBEVOICE_LAUNCH__TEMPLATE names it",
                param="launch.template",
            ) from None
        texts = found.data or {}
        key = template.DATASET_KEY if kind == "dataset" and template.DATASET_KEY in texts else template.KEY
        return texts.get(key), f"{key} of {source}"

    def _job(self, name: str) -> client.V1Job:
        check_name(name)
        jobs = self._jobs_of(f"{RUN_LABEL}={name}")  # Jobs that are no runs are none of ours
        if not jobs:
            raise NotFound(f"there is no run {name!r} in namespace {self._cluster.namespace}", param="name")
        return jobs[0]

    def _jobs_of(self, selector: str) -> list[client.V1Job]:
        with self._cluster.asking(LIST_JOBS):
            answer = self._jobs.list_namespaced_job(
                self._cluster.namespace, label_selector=selector, _request_timeout=TIMEOUT_S
            )
        return answer.items

    def _pods_of(self, selector: str) -> list[client.V1Pod]:
        with self._cluster.asking(LIST_PODS):
            answer = self._core.list_namespaced_pod(
                self._cluster.namespace, label_selector=selector, _request_timeout=TIMEOUT_S
            )
        return answer.items

    def _warning(self, name: str) -> str:
        """The last warning about the Job or pod ``name``; empty where there is none, or it is not ours to read."""
        selector = f"involvedObject.name={name},type=Warning"
        try:
            with self._cluster.asking(LIST_EVENTS):
                answer = self._core.list_namespaced_event(
                    self._cluster.namespace, field_selector=selector, _request_timeout=TIMEOUT_S
                )
        except ConfigurationError:
            return ""  # people's own rights may lack events; a state without its reason is better than none
        events = sorted(answer.items, key=lambda event: str(event.last_timestamp or event.event_time or ""))
        return f"{events[-1].reason}: {events[-1].message}" if events else ""

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return ask()
            except Unavailable as error:
                if time.monotonic() >= deadline:
                    raise
                wish = error.retry_after_s if error.retry_after_s > RETRY_AFTER_S else 0.0  # a flooded server's own
                time.sleep(min(max(self._poll_s, wish), self._patience_s))


def _run_label(metadata: client.V1ObjectMeta | None) -> str:
    return ((metadata and metadata.labels) or {})[RUN_LABEL]


def _silent(_: str) -> str:
    """For where it is not worth a request what Kubernetes warned of."""
    return ""
