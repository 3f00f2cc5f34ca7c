"""The cluster that the chart describes, on this machine: Ray nodes with GPUs that only Ray believes in, the environment
of the chart's pods, and ``serveConfigV2`` as the chart renders it, put to Serve's REST API as KubeRay puts it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.charts.rendering import Object, one, render
from tests.e2e.servers import title

TOKEN = secrets.token_hex(32)
TIMEOUT_S = 300.0
"""A busy machine takes its time; what passes does not wait for it."""


@dataclass(frozen=True)
class Node:
    """``url`` is its proxy's, which listens only while Serve needs one there; ``metrics`` is a page."""

    role: str
    id: str
    url: str
    metrics: str


class NotStarted(AssertionError):
    """The nodes ended."""


class Cluster:
    """A running cluster."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.nodes: list[Node] = []
        self._dashboard = ""
        self._read_state()

    def of(self, role: str) -> list[Node]:
        return [node for node in self.nodes if node.role == role]

    @property
    def url(self) -> str:
        """The proxy beside the API's replicas."""
        return self.of("api")[0].url

    def listens(self) -> bool:
        """Whether that proxy says that it is ready."""
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/-/healthz", timeout=10).status_code == 200
        return False

    def add(self) -> None:
        """Bring one more GPU node."""
        self._command("add")

    def remove(self, node: Node) -> None:
        """Let a node vanish."""
        self._command(f"remove {node.id}")

    def put(self, config: Mapping[str, Any]) -> None:
        """Hand ``config`` to Serve as KubeRay does; returns when the application runs with it."""
        answer = self._serve("PUT", json=config)
        assert answer.status_code == 200, answer.text
        self.wait(lambda: self.application()["status"] == "RUNNING", "the application to run")

    def application(self) -> dict[str, Any]:
        """What the dashboard knows about the application."""
        found: dict[str, Any] = self._serve("GET").json()["applications"]["kubevoice"]
        assert found["status"] != "DEPLOY_FAILED", json.dumps(found, indent=1)
        return found

    def replicas(self, deployment: str, *states: str) -> list[dict[str, Any]]:
        """Replicas in these states; running ones if none is named. None of a deployment that is not there."""
        known = self.application()["deployments"].get(deployment, {"replicas": []})["replicas"]
        return [replica for replica in known if replica["state"] in (states or ("RUNNING",))]

    def ids(self, deployment: str) -> set[str]:
        """Which replicas run."""
        return {replica["replica_id"] for replica in self.replicas(deployment)}

    def processes(self, deployment: str) -> list[psutil.Process]:
        """The processes of its replicas, found without asking Serve: while a stream runs there is little time."""
        return [
            process
            for process in psutil.Process(self._process.pid).children(recursive=True)
            if f"ServeReplica:kubevoice:{deployment}" in title(process)
        ]

    def target(self, deployment: str) -> int:
        """How many replicas are wanted."""
        wanted: int = self.application()["deployments"][deployment]["target_num_replicas"]
        return wanted

    def wait(self, condition: Callable[[], object], what: str, seconds: float = TIMEOUT_S) -> float:
        """Seconds until ``condition`` held."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, f"waited {seconds:g} s for {what}: {self.application()}"
            time.sleep(0.1)
        return time.monotonic() - began

    def scrape(self) -> set[str]:
        """The names of all series on the metrics pages of all nodes that answer."""
        lines: list[str] = []
        for node in self.nodes:
            with suppress(httpx.TransportError):  # as Prometheus does, which comes again
                lines += httpx.get(node.metrics, timeout=30).text.splitlines()
        return {line.split("{")[0].split(" ")[0] for line in lines if line and not line.startswith("#")}

    def _serve(self, method: str, **fields: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.request(
            method, f"{self._dashboard}/api/serve/applications/", headers=headers, timeout=120, **fields
        )

    def _command(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        self._read_state()

    def _read_state(self) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise NotStarted("the nodes ended; their error output says why")
        state = json.loads(line)
        self._dashboard = state["dashboard"]
        self.nodes = [Node(**node) for node in state["nodes"]]


@contextmanager
def running_cluster(values: Mapping[str, Any], speech: int = 3) -> Iterator[Cluster]:
    """A head, a node for the API and ``speech`` nodes with a GPU each, in the environment of the chart's pods."""
    with ExitStack() as running:
        try:
            cluster = running.enter_context(_started(values, speech))
        except NotStarted:  # Ray gives a node 30 s, which tests beside this one may have used up
            cluster = running.enter_context(_started(values, speech))
        yield cluster


@contextmanager
def _started(values: Mapping[str, Any], speech: int) -> Iterator[Cluster]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("KUBEVOICE_", "XTTS_", "RAY_"))
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.cluster_nodes", str(speech)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**inherited, **pod_environment(values), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN},
        start_new_session=True,
    )
    try:
        yield Cluster(process)
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.stdin.close()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=10)
    for child in alive:
        child.kill()


def rayservice(values: Mapping[str, Any]) -> Object:
    return one(render(values), "RayService")


def pod_environment(values: Mapping[str, Any]) -> dict[str, str]:
    """The variables of Ray in the chart's worker pods; the rest names what this machine does not have."""
    group = rayservice(values)["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    variables = group["template"]["spec"]["containers"][0]["env"]
    return {entry["name"]: entry["value"] for entry in variables if entry["name"].startswith("RAY_")}


def rendered_config(values: Mapping[str, Any], data: Path, port: int) -> dict[str, Any]:
    """serveConfigV2 as the chart renders it, but for the volume's path and the head's port, which others may have."""
    text: str = rayservice(values)["spec"]["serveConfigV2"]
    for ours, here in (("data: /data\n", f"data: {data}\n"), ("port: 8000\n", f"port: {port}\n")):
        assert text.count(ours) == 1
        text = text.replace(ours, here)
    config: dict[str, Any] = yaml.safe_load(text)
    return config
