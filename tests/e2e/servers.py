"""Real servers for tests and benchmarks: ``kubevoice serve`` as a subprocess on a free loopback port."""

from __future__ import annotations

import ctypes
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.e2e.ports import free_port

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1

START_TIMEOUT_S = 420.0  # a busy machine with two slow cores has needed more than 180
STOP_TIMEOUT_S = 60.0
TOO_BUSY = "this machine is too busy"
PATIENCE = {"RAY_gcs_server_port_wait_time_s": "90"}
"""How long Ray may take to start its control service beside other tests; its default is 30 s."""

GIVING_WAY = {"RAY_worker_niceness": "10"} if "PYTEST_VERSION" in os.environ else {}
"""Beside other tests replicas give way to them, and to the cluster of ``cluster_nodes``, whose autoscaling is judged by
what it measures every second. Benchmarks measure the server as it is."""


@dataclass
class Server:
    """A running server; ``lines`` is everything it has printed so far."""

    url: str
    data: Path
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """The processes that run replicas of ``deployment``."""
        return [
            process for process in _tree(self.process.pid) if f"ServeReplica:kubevoice:{deployment}" in title(process)
        ]


@contextmanager
def serving(
    data: Path, *arguments: str, environment: dict[str, str] | None = None, module: str = "serving.cli"
) -> Iterator[Server]:
    """Start ``kubevoice serve`` on ``data``, wait until it is ready, and end it by SIGINT with all it started.

    ``module`` is where the command line is.
    """
    command = [sys.executable, "-m", module, "serve", "--data", str(data), *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBEVOICE_", "XTTS_", "RAY_"))}
    clean = {**kept, **PATIENCE, **GIVING_WAY}
    with ExitStack() as running:
        try:
            server = running.enter_context(_started(data, command, {**clean, **(environment or {})}))
        except TooBusy:  # Ray gives a node 30 s, which tests beside this one may have used up
            server = running.enter_context(_started(data, command, {**clean, **(environment or {})}))
        yield server


class TooBusy(AssertionError):
    """Ray did not come up in its time."""


@contextmanager
def _started(data: Path, command: list[str], environment: dict[str, str]) -> Iterator[Server]:
    process = subprocess.Popen(
        [*command, "--port", str(free_port())],  # not 0: until Ray Serve listens others could be given the port
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        preexec_fn=_end_with_us if sys.platform == "linux" else None,  # noqa: PLW1509 - one system call
        start_new_session=True,  # a Ctrl-C at the terminal of the tests is ours to pass on
    )
    lines: list[str] = []
    arriving: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process, lines, arriving), daemon=True)
    reader.start()
    try:
        yield Server(_ready_url(arriving, lines), data, process, lines)
    finally:
        _stop(process)
        reader.join()
        assert process.stdout is not None
        process.stdout.close()


def _end_with_us() -> None:
    """Tests that are killed leave no server behind. It holds for the thread that starts the server: the main one."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def _ready_url(arriving: queue.Queue[str | None], lines: list[str]) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    outcome = f"was not ready after {START_TIMEOUT_S:.0f} s"
    while (left := deadline - time.monotonic()) > 0:
        try:
            line = arriving.get(timeout=left)
        except queue.Empty:
            break
        if line is None:
            outcome = "ended before it was ready"
            break
        if match := re.search(r"kubevoice is ready on (http://\S+)", line):
            return match.group(1)
    said = "".join(lines)
    failure = TooBusy if TOO_BUSY in said else AssertionError
    raise failure(f"the server {outcome}; it printed:\n{said}")


def _read(process: subprocess.Popen[str], lines: list[str], arriving: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        arriving.put(line)
    arriving.put(None)


def _stop(process: subprocess.Popen[str]) -> None:
    children = _tree(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    for child in alive:
        child.kill()


def _tree(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def title(process: psutil.Process) -> str:
    """What ``ps`` shows; nothing of a process that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
