"""A Kubernetes API in this process for what the launcher asks of it: kmock, in a thread with an event loop of its own.

It keeps objects, answers 404 and 409, selects by labels and by involvedObject.name, and writes down every request.
Controllers, kubelets and admission are the test's part: it sets a Job's status and makes its pods.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kmock
import yaml
from aiohttp.web import StreamResponse
from kmock import KubernetesEmulator, KubernetesError, Request, Server

NAMESPACE = "speech"
TEMPLATE = "voices-kubevoice-training-template"
JOBS, PODS, EVENTS, CONFIG_MAPS = "batch/v1/jobs", "v1/pods", "v1/events", "v1/configmaps"

LOCAL_TEMPLATE: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "training", "labels": {"app.kubernetes.io/instance": "voices"}},
    "spec": {
        "backoffLimit": 6,
        "template": {
            "metadata": {"labels": {"app.kubernetes.io/component": "training"}},
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "training",
                        "image": "ghcr.io/kubevoice/kubevoice:0.1.0",
                        "env": [{"name": "KUBEVOICE_DATA", "value": "/data"}, {"name": "HOME", "value": "/tmp"}],
                        "resources": {"limits": {"memory": "32Gi"}},
                    }
                ],
            },
        },
    },
}


class _Emulator(KubernetesEmulator):
    async def _render_error(self, exc: Exception) -> StreamResponse:
        if isinstance(exc, KubernetesError) and exc.status == 409:  # kmock's own reason is none of Kubernetes'
            exc = KubernetesError(status=409, reason="AlreadyExists", message=exc.message)
        answer: StreamResponse = await super()._render_error(exc)
        return answer


class KubernetesApi:
    """``emulator`` holds the objects; the methods say what a cluster's other parts would do to them."""

    def __init__(self, emulator: KubernetesEmulator, url: str) -> None:
        self.emulator = emulator
        self.url = url
        self._made = self._second = 0
        for resource in (JOBS, PODS, EVENTS):
            emulator.resources[resource] = kmock.ResourceInfo()  # known, and empty
        emulator[kmock.action.CREATE] << self._complete
        emulator[kmock.action.LIST] << self._selected

    @property
    def requests(self) -> list[Request]:
        return list(self.emulator)

    def answer(self, what: str, *response: Any) -> None:
        """Answer requests for ``what`` (``post /apis/...``) with ``response`` instead: a status, a body, a function."""
        reaction = self.emulator[what] ** 100
        for part in response:
            reaction = reaction << part

    def refuse(self, what: str, status: int, message: str) -> None:
        """Answer requests for ``what`` as the API server refuses one; nothing is made or deleted."""
        self.answer(what, status, self._refusal(status, message))

    def fail_once(self, what: str, status: int, retry_after_s: int = 1, message: str = "not now") -> None:
        """Refuse the next request for ``what`` only, and say when to come back."""
        header = {"Retry-After": str(retry_after_s)}
        _ = self.emulator[what][:1] ** 100 << status << header << self._refusal(status, message)

    def _refusal(self, status: int, message: str) -> Callable[[Request], dict[str, Any]]:
        def answer(request: Request) -> dict[str, Any]:
            self._undo(request)
            return {"kind": "Status", "apiVersion": "v1", "message": message, "code": status}

        return answer

    def _undo(self, request: Request) -> None:
        """kmock makes and deletes objects before it asks what to answer."""
        name = request.name or ((request.data or {}).get("metadata") or {}).get("name")
        if name is None or request.resource is None:
            return
        key = (request.resource, request.namespace, str(name))
        if key not in self.emulator.objects:
            return
        item = self.emulator.objects[key]
        if request.method.value == "DELETE" and item.deleted:
            item.create(item.last.raw)
        elif request.method.value == "POST" and "uid" not in item.raw["metadata"]:
            del self.emulator.objects[key]

    def add_template(self, text: str | None = None, name: str = TEMPLATE, dataset: str | None = None) -> None:
        data = {"job.yaml": yaml.safe_dump(LOCAL_TEMPLATE) if text is None else text}
        if dataset is not None:
            data["dataset-job.yaml"] = dataset
        self._put(CONFIG_MAPS, name, {"data": data})

    def job(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.emulator.objects[JOBS, NAMESPACE, name].raw
        return found

    def set_job(self, name: str, **parts: dict[str, Any]) -> None:
        """Merge ``parts`` (spec, status) into a Job, as controllers do."""
        self.emulator.objects[JOBS, NAMESPACE, name].patch(parts)

    def finish(self, name: str, kind: str = "Complete", reason: str = "", message: str = "", **status: Any) -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        self.set_job(name, status={"conditions": [condition], **status})

    def add_pod(
        self, run: str, phase: str, state: dict[str, Any] | None = None, index: int | None = None, **status: Any
    ) -> str:
        """A later pod of ``run``; ``state`` is that of its container. Returns its name.

        ``index`` is the pod's in an Indexed Job, whose pods come in the same second.
        """
        name = f"{run}-{self._made + 1}"
        container = {"name": "training", "image": "kubevoice:0.1.0", "imageID": "", "ready": False, "restartCount": 0}
        statuses = [{**container, "state": state}] if state is not None else []
        spec = self.job(run)["spec"]["template"]["spec"]
        labels = {"kubevoice.io/run": run}
        whole = {"phase": phase, "containerStatuses": statuses, **status}
        self._put(PODS, name, {"spec": spec, "status": whole}, labels, beside=bool(index))
        if index is not None:
            annotations = {"batch.kubernetes.io/job-completion-index": str(index)}
            self.emulator.objects[PODS, NAMESPACE, name].patch({"metadata": {"annotations": annotations}})
        return name

    def set_pod(self, name: str, phase: str, state: dict[str, Any]) -> None:
        pod = self.emulator.objects[PODS, NAMESPACE, name]
        container = {**pod.raw["status"]["containerStatuses"][0], "state": state}
        pod.patch({"status": {"phase": phase, "containerStatuses": [container]}})

    def warn(self, name: str, reason: str, message: str) -> None:
        """An event about the Job or pod ``name``."""
        about = {"involvedObject": {"name": name, "namespace": NAMESPACE}, "type": "Warning"}
        self._put(EVENTS, f"{name}.{self._made}", {**about, "reason": reason, "message": message})

    def _put(
        self,
        resource: str,
        name: str,
        parts: dict[str, Any],
        labels: dict[str, str] | None = None,
        *,
        beside: bool = False,
    ) -> None:
        identity = self._identity(beside=beside)
        metadata = {"name": name, "namespace": NAMESPACE, "labels": labels or {}, **identity}
        self.emulator.objects[resource, NAMESPACE, name] = {"metadata": metadata, **parts}

    def _identity(self, *, beside: bool = False) -> dict[str, str]:
        """What the API server gives an object: a second after the one before, or ``beside`` it."""
        self._made += 1
        self._second = self._second if beside else self._made
        minutes, seconds = divmod(self._second, 60)
        return {"uid": f"uid-{self._made}", "creationTimestamp": f"2026-01-01T00:{minutes:02}:{seconds:02}Z"}

    def _complete(self, request: Request) -> dict[str, Any]:
        """A new object (kmock has taken it already) with what the API server adds to it."""
        assert request.resource is not None
        new = self.emulator.objects[request.resource, request.namespace, request.data["metadata"]["name"]]
        new.patch({"metadata": {"namespace": request.namespace, **self._identity()}})
        raw: dict[str, Any] = new.raw
        return raw

    def _selected(self, request: Request) -> dict[str, Any]:
        items = [
            item.raw
            for (resource, namespace, _), item in self.emulator.objects.items()
            if resource == request.resource and namespace == request.namespace and not item.deleted
        ]
        return {
            "metadata": {"resourceVersion": "1"},
            "items": [item for item in items if _matches(item, request.params)],
        }


def _matches(item: dict[str, Any], params: Any) -> bool:
    labels = item["metadata"].get("labels", {})
    for term in filter(None, params.get("labelSelector", "").split(",")):
        key, sign, value = term.partition("=")
        if key not in labels or (sign and labels[key] != value):
            return False
    for term in filter(None, params.get("fieldSelector", "").split(",")):
        path, _, value = term.partition("=")
        found: Any = item
        for part in path.split("."):
            found = found.get(part, {})
        if found != value:
            return False
    return True


@contextmanager
def running_api() -> Iterator[KubernetesApi]:
    """A Kubernetes API on a free port of loopback."""
    started: list[KubernetesApi] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with _Emulator() as emulator, Server(emulator) as server:
            started.append(KubernetesApi(emulator, str(server.url).rstrip("/")))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(60), "the Kubernetes API did not start"
        yield started[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


def kubeconfig(path: Path, url: str, namespace: str = NAMESPACE) -> Path:
    """A kubeconfig at ``path`` for the API at ``url``, with a token."""
    named = {
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {"token": "secret"}}],
        "contexts": [{"name": "it", "context": {"cluster": "here", "user": "me", "namespace": namespace}}],
    }
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "it", **named}))
    return path
