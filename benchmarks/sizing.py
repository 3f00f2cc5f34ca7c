"""What the parts of a cluster need in memory, for the sizing table: every process of a running server, by its role.

    python -m benchmarks.sizing [--full]

Speaks with espeak-ng, and with --full also with an XTTS checkpoint of the real size (random weights, 1.9 GB, on the
CPU). Memory is the proportional set size, so pages that processes share are counted once. The last line is one JSON
object, in MB.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import httpx
import psutil

from serving.store.models import ModelStore
from serving.store.volume import Volume
from tests.e2e.servers import Server, serving
from tests.factories.xtts import make_checkpoint

ROLES = {
    "ServeReplica:kubevoice:Ingress": "ingress replica",
    "ServeReplica:kubevoice:Espeak": "espeak replica",
    "ServeReplica:kubevoice:Xtts": "xtts replica",
    "ServeController": "serve controller",
    "ProxyActor": "serve proxy",
    "espeak.worker": "espeak replica",
    "gcs_server": "ray head services",
    "dashboard/dashboard.py": "ray head services",
    "monitor.py": "ray head services",
    "raylet/raylet": "ray node services",
    "dashboard/agent.py": "ray node services",
    "runtime_env/agent": "ray node services",
    "log_monitor.py": "ray node services",
}
"""What a process' command line contains, and the role it plays; the first that fits."""

TEXT = " ".join(f"Sentence {index} of a text that is long enough to fill what there is to fill." for index in range(12))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="also a checkpoint of the real size")
    engines = ["espeak", "xtts"] if parser.parse_args().full else ["espeak"]
    result = {engine: measure(engine) for engine in engines}
    for engine, roles in result.items():
        for role, megabytes in sorted(roles.items()):
            print(f"{engine:8} {role:20} {megabytes:8.0f} MB")
    print(json.dumps(result))


def measure(engine: str) -> dict[str, float]:
    """Megabytes by role, after the server has spoken."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        if engine == "xtts":
            publish(data)
        with serving(data, environment={"KUBEVOICE_ENGINE": engine}) as server:
            speak(server)
            return by_role(server)


def publish(data: Path) -> None:
    volume = Volume(data)
    volume.create()
    with ModelStore(volume).publish("xtts", "xtts_v2", "r1", {"source": "benchmark"}) as directory:
        make_checkpoint(directory, "full")


def speak(server: Server) -> None:
    body = {"model": "auto", "voice": "default", "input": TEXT, "response_format": "mp3"}
    httpx.post(f"{server.url}/v1/audio/speech", json=body, timeout=900).raise_for_status()


def by_role(server: Server) -> dict[str, float]:
    found: dict[str, float] = {}
    for process in psutil.Process(server.process.pid).children(recursive=True):
        command = " ".join(process.cmdline())
        role = next((role for mark, role in ROLES.items() if mark in command), "other")
        found[role] = found.get(role, 0.0) + process.memory_full_info().pss / 1e6
    return {role: round(megabytes, 1) for role, megabytes in found.items()}


if __name__ == "__main__":
    main()
