"""``kubevoice drain-node`` on a real cluster of several Ray nodes: what the preStop hook of a worker pod does."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.ray_cluster import RayCluster, ray_cluster

pytestmark = [pytest.mark.xdist_group("ray_nodes"), pytest.mark.timeout(900)]

LONG = " ".join(f"Sentence {index} of a text that goes on for quite some time." for index in range(40))


def speech(text: str, **fields: object) -> dict[str, object]:
    return {"model": "tts-1", "voice": "alloy", "input": text, **fields}


def drain(cluster: RayCluster, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.cli", "drain-node", *arguments],
        capture_output=True,
        text=True,
        env={**cluster.environment, **environment},
        timeout=300,
        check=False,
    )


class LongStream(threading.Thread):
    """A request whose audio takes some 10 s to make and to encode; ``size`` is what arrived by its regular end."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.size = 0
        self.begun = threading.Event()
        self.ended = 0.0

    def run(self) -> None:
        body = speech(LONG, speed=0.25)
        with httpx.stream("POST", f"{self.url}/v1/audio/speech", json=body, timeout=240) as answer:
            size = 0
            for piece in answer.iter_raw():  # raises when the connection is cut
                size += len(piece)
                self.begun.set()
        self.size, self.ended = size, time.monotonic()


@contextmanager
def callers(url: str, answers: list[object]) -> Iterator[None]:
    """Short requests, one after the other, for the length of the block."""
    done = threading.Event()

    def call() -> None:
        while not done.is_set():
            try:
                answer = httpx.post(f"{url}/v1/audio/speech", json=speech("Hello."), timeout=180)
                answers.append(answer.status_code)
            except httpx.HTTPError as error:
                answers.append(repr(error))
            done.wait(0.1)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        yield
    finally:
        done.set()
        caller.join()


@pytest.mark.parametrize("haproxy", ["1", pytest.param("0", marks=pytest.mark.slow)])
def test_a_node_is_left_without_cutting_a_stream_or_failing_a_request(tmp_path: Path, haproxy: str) -> None:
    application = {
        "name": "kubevoice",
        "route_prefix": "/",
        "import_path": "serving.app:build",
        "args": {"engine": "espeak", "data": str(tmp_path / "data")},
        "deployments": [{"name": name, "graceful_shutdown_timeout_s": 30} for name in ("Ingress", "Espeak")],
    }
    with ray_cluster(application, {"RAY_SERVE_ENABLE_HA_PROXY": haproxy}) as cluster:
        first = cluster.nodes[1]
        head = drain(cluster, "--timeout", "5", "--node", cluster.nodes[0].id)
        assert (head.returncode, "head node cannot be drained" in head.stderr) == (2, True), head.stderr
        wrong = drain(cluster, "--timeout", "5", RAY_AUTH_TOKEN="0" * 64)
        assert wrong.returncode == 1
        assert wrong.stderr.splitlines()[-1].startswith("error: Ray's control service does not answer"), wrong.stderr

        cluster.add_node()
        ambiguous = drain(cluster, "--timeout", "5")
        assert (ambiguous.returncode, "choose one with --node" in ambiguous.stderr) == (2, True), ambiguous.stderr

        stream, answers = LongStream(first.url), list[object]()
        stream.start()
        assert stream.begun.wait(120)
        with callers(cluster.url, answers):
            result = drain(cluster, "--timeout", "240", "--node", first.id)
            left = time.monotonic()
        stream.join(120)
        lines = result.stdout.splitlines()
        assert result.returncode == 0, result.stderr
        for resident in ("Espeak#", "Ingress#", "proxy"):
            assert resident in result.stdout
        assert lines[-1].endswith("nothing of Ray Serve is left on it"), lines
        assert stream.size > 1_000_000
        assert stream.ended < left + 5, "the node was not left before the stream had ended"
        assert len(answers) > 5
        assert set(answers) == {200}

        # The second node: no other is left that could take its replicas.
        with httpx.stream(
            "POST", f"{cluster.url}/v1/audio/speech", json=speech(LONG, speed=0.25), timeout=180
        ) as answer:
            next(answer.iter_raw())
            result = drain(cluster, "--timeout", "2")
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines()[-1].startswith("2 s are over (still on it: "), result.stdout
