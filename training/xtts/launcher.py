"""Starts one trainer for each GPU of this node, and says how they ended.

torchrun would do, and a trainer under torchrun works too. But torchrun ends with 1 whatever its workers ended with, so
that a Job cannot tell "stopped and saved" from a failure; it kills workers 30 s after a signal; and it lets those that
wait for a dead one wait. Here the first rank that ends by itself decides, and nothing is restarted: the Job does that.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.errors import ConfigurationError
from training.exits import BAD_CONFIGURATION, OUT_OF_GPU_MEMORY, STOPPED
from training.xtts.signals import StopFlag

STORE_DESCRIPTOR = "TRAINING_STORE_FD"
"""Variable with the listening socket that rank 0 of a single node gets, so that no port has to be guessed."""

POLL_S = 0.1
GRACE_S = 10.0
"""For the others once one has failed: they can save nothing without it."""

DEFAULT_PORT = 29400
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
"""Loaded before there is a child: between fork and exec nothing may wait for a lock."""


@dataclass(frozen=True)
class Nodes:
    """``processes`` trainers on this node, which is number ``node`` of ``nodes``; rank 0 listens at ``address``.

    ``address`` and ``port`` matter to several nodes only.
    """

    processes: int = 1
    nodes: int = 1
    node: int = 0
    address: str = "127.0.0.1"
    port: int = DEFAULT_PORT

    @property
    def world(self) -> int:
        return self.processes * self.nodes


def nodes_from(environment: Mapping[str, str], processes: int | None, gpus: int) -> Nodes:
    """What the variables of the Job say; ``processes`` (of the command line) goes before NPROC_PER_NODE, then ``gpus``.

    Raises ConfigurationError that names the variable.
    """
    if processes is None:
        processes = _number(environment, "NPROC_PER_NODE", max(1, gpus), at_least=1)
    nodes = _number(environment, "NNODES", 1, at_least=1)
    node = _number(environment, "NODE_RANK", _number(environment, "JOB_COMPLETION_INDEX", 0)) if nodes > 1 else 0
    if nodes == 1:
        return Nodes(processes)
    if node >= nodes:
        raise ConfigurationError(f"this is node {node}, but NNODES={nodes}; nodes count from 0", "NNODES")
    address, _, port = environment.get("RDZV_ENDPOINT", "").partition(":")
    address = address or environment.get("MASTER_ADDR", "")
    if not address:
        raise ConfigurationError(f"NNODES={nodes} needs RDZV_ENDPOINT: host:port of the first node", "RDZV_ENDPOINT")
    named = {"RDZV_ENDPOINT": port} if port else {"MASTER_PORT": environment.get("MASTER_PORT", "")}
    (variable,) = named
    return Nodes(processes, nodes, node, address, _number(named, variable, DEFAULT_PORT, at_least=1))


def launch(command: Sequence[str], nodes: Nodes, stop: StopFlag) -> int:
    """Run ``command`` once for each rank of this node; the exit code of the first that ends with one, or 0."""
    listener = socket.create_server(("127.0.0.1", 0)) if nodes.nodes == 1 else None
    children: list[subprocess.Popen[bytes]] = []
    try:
        for local_rank in range(nodes.processes):
            children.append(_start(command, nodes, local_rank, listener))
        return _watch(children, stop)
    finally:
        if listener is not None:
            listener.close()
        for child in children:
            child.kill()
            child.wait()


def _watch(children: Sequence[subprocess.Popen[bytes]], stop: StopFlag) -> int:
    told = False
    while any(child.poll() is None for child in children):
        if stop.is_set and not told:
            told = True
            _tell(children)
        for child in children:
            if child.poll() not in ((None, 0, STOPPED) if told else (None, 0)):
                return _end(children, child)
        time.sleep(POLL_S)
    return max(_exit_code(child) for child in children)


def _end(children: Sequence[subprocess.Popen[bytes]], first: subprocess.Popen[bytes]) -> int:
    """``first`` has failed or was stopped; the others get a little time to end by themselves.

    What says why is worth more than that another rank lost its connection, whichever was noticed first.
    """
    deadline = time.monotonic() + GRACE_S
    _tell(children)
    while any(child.poll() is None for child in children) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    ended = [_exit_code(child) for child in children if child.poll() is not None]
    return next((code for code in (BAD_CONFIGURATION, OUT_OF_GPU_MEMORY) if code in ended), _exit_code(first))


def _tell(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.poll() is None:
            child.terminate()


def _exit_code(child: subprocess.Popen[bytes]) -> int:
    """As a shell has it: 128 + the signal that killed it."""
    code = child.wait()
    return code if code >= 0 else 128 - code


def _start(
    command: Sequence[str], nodes: Nodes, local_rank: int, listener: socket.socket | None
) -> subprocess.Popen[bytes]:
    rank = nodes.node * nodes.processes + local_rank
    variables = {
        "RANK": str(rank),
        "WORLD_SIZE": str(nodes.world),
        "LOCAL_RANK": str(local_rank),
        "LOCAL_WORLD_SIZE": str(nodes.processes),
        "MASTER_ADDR": nodes.address,
        "MASTER_PORT": str(listener.getsockname()[1] if listener else nodes.port),
    }
    if listener is not None:
        variables[STORE_DESCRIPTOR] = str(listener.fileno())
    return subprocess.Popen(  # noqa: S603 - this program again
        command,
        env={**os.environ, **variables},
        pass_fds=[listener.fileno()] if listener is not None and rank == 0 else [],
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one system call
        start_new_session=True,  # a terminal's Ctrl-C comes once, from here
    )


def _die_with_parent() -> None:
    """Ranks whose launcher was killed would train on, and hold the lock."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _number(environment: Mapping[str, str], name: str, default: int, *, at_least: int = 0) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or int(text) < at_least:
        raise ConfigurationError(f"{name}={text!r} is no whole number from {at_least} on; correct or unset it", name)
    return int(text)
