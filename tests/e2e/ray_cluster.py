"""A Ray cluster of several nodes on this machine, with the application deployed from a config as a RayService has it.

It runs as a process of its own, so that the tests' process stays free of Ray: the first line it prints says where
everything is, a line ``add`` on its standard input starts another node, and the end of its input ends the cluster.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any

import psutil

from tests.e2e.ports import free_port, ingress_ports
from tests.e2e.servers import PATIENCE

TOKEN = secrets.token_hex(32)
NODE: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 80 * 1024 * 1024}
HAPROXY_PORTS = ("HAPROXY_STATS", "HAPROXY_METRICS")


@dataclass(frozen=True)
class RayNode:
    """A node by its id, and where its own proxy listens, once it has one."""

    id: str
    url: str


@dataclass
class RayCluster:
    """``address`` is Ray's; ``nodes`` are the head and then the worker nodes."""

    address: str
    nodes: list[RayNode]
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """The API through the head's proxy, which always runs."""
        return self.nodes[0].url

    @property
    def environment(self) -> dict[str, str]:
        """What KubeRay gives every container of the cluster."""
        return {**_clean_environment(), "RAY_ADDRESS": self.address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}

    def add_node(self) -> None:
        """Start a worker node."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("add\n")
        self.process.stdin.flush()
        self.nodes.append(RayNode(**json.loads(_next_line(self.process.stdout))))


class NotStarted(AssertionError):
    """The nodes ended before they ran; their error output says why."""


@contextmanager
def ray_cluster(application: dict[str, Any], environment: dict[str, str] | None = None) -> Iterator[RayCluster]:
    """A head without CPUs for work and one worker node; ``application`` is one of ``applications`` in serveConfigV2."""
    with ExitStack() as running:
        try:
            cluster = running.enter_context(_started(application, environment or {}))
        except NotStarted:  # Ray gives a node 30 s, which tests beside this one may have used up
            cluster = running.enter_context(_started(application, environment or {}))
        yield cluster


@contextmanager
def _started(application: dict[str, Any], environment: dict[str, str]) -> Iterator[RayCluster]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.ray_cluster", json.dumps(application)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**_clean_environment(), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, **environment},
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        facts = json.loads(_next_line(process.stdout))
        yield RayCluster(facts["address"], [RayNode(**node) for node in facts["nodes"]], process)
    finally:
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


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("KUBEVOICE_", "XTTS_", "RAY_"))}


def _next_line(stream: IO[str]) -> str:
    """The next line that is JSON: Ray prints notes of its own."""
    for line in stream:
        if line.startswith(("{", '"')):
            return line
    raise NotStarted("the cluster ended; its error output says why")


def main(application: dict[str, Any]) -> None:
    os.environ.update(
        PATIENCE,
        RAY_USAGE_STATS_ENABLED="0",
        RAY_ENABLE_AUTO_CONNECT="0",
        RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S="1",
        # Ray's default of 30 s makes tests long; all proxies of a busy machine have to hear of a change in it.
        RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S="6",
        RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S="6",
        RAY_SERVE_FALLBACK_PROXY_HTTP_PORT=str(free_port()),
        RAY_SERVE_FALLBACK_PROXY_GRPC_PORT=str(free_port()),
        **{f"RAY_SERVE_{name}_PORT": str(free_port()) for name in HAPROXY_PORTS},
        **ingress_ports("nodes"),
    )
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **NODE})
    main_node: Any = cluster.head_node
    first, port = _add_node(cluster), free_port()
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    serve.start(
        proxy_location="EveryNode",
        http_options={"host": "127.0.0.1", "port": port},
        logging_config={"log_level": "CRITICAL", "enable_access_log": False},
    )
    config = ServeDeploySchema.model_validate({"applications": [application]})
    client = _get_global_client()
    assert client is not None
    client.deploy_apps(config, _blocking=True)
    head = {"id": main_node.node_id, "url": f"http://127.0.0.1:{port}"}
    _tell({"address": cluster.address, "nodes": [head, first]})
    for line in sys.stdin:
        assert line == "add\n"
        _tell(_add_node(cluster))
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()
    cluster.shutdown()  # type: ignore[no-untyped-call]


def _add_node(cluster: Any) -> dict[str, str]:
    """A worker whose proxy has ports of its own: all nodes share one address here."""
    ports = {f"RAY_SERVE_{name}_PORT": str(free_port()) for name in ("WORKER_PROXY_HTTP", *HAPROXY_PORTS)}
    node = cluster.add_node(num_cpus=8, env_vars=ports, **NODE)
    return {"id": node.node_id, "url": f"http://127.0.0.1:{ports['RAY_SERVE_WORKER_PROXY_HTTP_PORT']}"}


def _tell(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
