"""The Ray nodes of ``tests.e2e.cluster``, started in a process of their own: tests stay free of Ray.

It prints a line of JSON, the nodes by their role, at the start and after each command. Commands are lines on its
standard input: ``add`` brings a speech node, ``remove ID`` lets one vanish. The end of the input ends the cluster.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import Any

import psutil

from tests.e2e.ports import free_port, ingress_ports
from tests.e2e.servers import PATIENCE

RESOURCES: dict[str, dict[str, Any]] = {
    "head": {"num_cpus": 0, "num_gpus": 0},
    "api": {"num_cpus": 1, "num_gpus": 0, "resources": {"kubevoice-api": 1000}},
    "speech": {"num_cpus": 1, "num_gpus": 1, "resources": {"kubevoice-speech": 1000}},
}
"""What the chart's groups offer. Ray does not check that CPUs and GPUs exist, and starts a process for each CPU."""

OBJECT_STORE_BYTES = 80 * 1024 * 1024


class Nodes:
    """A head, one node for the API and ``speech`` nodes with a GPU each."""

    def __init__(self, speech: int) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()
        self._running: list[tuple[str, str, Any]] = []
        self._dashboard = free_port()
        self.add("head", include_dashboard=True, dashboard_port=self._dashboard)
        self.add("api")
        for _ in range(speech):
            self.add("speech")

    def add(self, role: str, **options: Any) -> None:
        """Start a node. Proxies and agents of all nodes share this machine, hence the ports of their own."""
        port = free_port()
        ports = {
            "RAY_SERVE_WORKER_PROXY_HTTP_PORT": port,
            "RAY_SERVE_HAPROXY_STATS_PORT": free_port(),
            "RAY_SERVE_HAPROXY_METRICS_PORT": free_port(),
        }
        node = self._cluster.add_node(
            **{"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES, **RESOURCES[role], **options},
            dashboard_agent_listen_port=free_port(),
            env_vars={name: str(value) for name, value in ports.items()},
        )
        self._running.append((role, f"http://127.0.0.1:{port}", node))

    def remove(self, node_id: str) -> None:
        """Let a node vanish with everything that runs on it, as a machine does that loses its power."""
        entry = next(entry for entry in self._running if entry[2].node_id == node_id)
        self._running.remove(entry)
        victims = [child for process in _processes(entry[2]) for child in process.children(recursive=True)]
        self._cluster.remove_node(entry[2], allow_graceful=False)
        _kill(victims)

    def end(self) -> None:
        victims = psutil.Process().children(recursive=True)
        self._cluster.shutdown()  # type: ignore[no-untyped-call]
        _kill(victims)

    def state(self) -> dict[str, Any]:
        nodes = [
            {
                "role": role,
                "id": node.node_id,
                "url": url,
                "metrics": f"http://127.0.0.1:{node.metrics_export_port}/metrics",
            }
            for role, url, node in self._running
        ]
        return {"dashboard": f"http://127.0.0.1:{self._dashboard}", "nodes": nodes}


def _processes(node: Any) -> list[psutil.Process]:
    return [psutil.Process(info.process.pid) for infos in node.all_processes.values() for info in infos]


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def main(speech: int) -> None:
    os.environ.update(
        PATIENCE,
        TMPDIR="/tmp",  # Ray's sockets lie below it, and their paths may not be long
        RAY_ENABLE_AUTO_CONNECT="0",
        RAY_LOG_TO_STDERR="0",  # pods log there; here the standard output is for answers
        RAY_metrics_report_interval_ms="1000",
        RAY_worker_niceness="0",  # beside other tests, replicas would starve
        RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S="20",  # a slow proxy of a busy machine is no dead one
        RAY_SERVE_FALLBACK_PROXY_HTTP_PORT=str(free_port()),
        RAY_SERVE_FALLBACK_PROXY_GRPC_PORT=str(free_port()),
        AUTOSCALER_METRIC_PORT=str(free_port()),
        DASHBOARD_METRIC_PORT=str(free_port()),
        **ingress_ports("chart"),
    )
    nodes = Nodes(speech)
    _tell(nodes.state())
    for line in sys.stdin:
        command, _, node_id = line.strip().partition(" ")
        if command == "add":
            nodes.add("speech")
        else:
            nodes.remove(node_id)
        _tell(nodes.state())
    nodes.end()


def _tell(state: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(state) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
