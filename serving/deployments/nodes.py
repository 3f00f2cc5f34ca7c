"""A node of the Ray cluster that has to go: ask Ray Serve to leave it, and see it leave.

Everything goes through Ray's control service (GCS), as ``ray drain-node`` does: no driver, nothing on the node itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
from ray.core.generated import autoscaler_pb2, gcs_pb2
from ray.exceptions import RayError

from serving.errors import ConfigurationError, InvalidRequest, NotFound, Unavailable

HEAD_RESOURCE = "node:__internal_head__"
RESIDENTS = ("SERVE_REPLICA::", "SERVE_PROXY_ACTOR")
"""How Ray Serve names what requests pass through."""

# Compiled from protocol buffers, without types.
PREEMPTION = autoscaler_pb2.DRAIN_NODE_REASON_PREEMPTION  # type: ignore[attr-defined]
ALIVE = gcs_pb2.GcsNodeInfo.ALIVE  # type: ignore[attr-defined]

RPC_TIMEOUT_S = 10.0
POLL_S = 0.5
ID_CHARS = 8
"""How much of a node's id is shown."""


class RayNode:
    """One node, by its id in hexadecimal."""

    def __init__(self, gcs: GcsClient, node_id: str) -> None:
        self._gcs = gcs
        self.id = node_id

    def __str__(self) -> str:
        return f"Ray node {self.id[:ID_CHARS]}"

    def drain(self, seconds: float) -> None:
        """Ask that the node be empty in ``seconds``; raises Unavailable.

        Serve starts a replacement of each replica first, then lets the replica finish its streams. Without room for the
        replacement the replica takes requests until ``graceful_shutdown_timeout_s`` before the deadline.
        A preemption is the one reason that a busy node cannot reject.
        """
        deadline_ms = int((time.time() + seconds) * 1000)
        with _answering():
            accepted, why = self._gcs.drain_node(
                self.id, PREEMPTION, "kubevoice drain-node", deadline_ms, timeout=RPC_TIMEOUT_S
            )
        if not accepted:
            raise Unavailable(f"Ray rejects the drain of {self}: {why}")

    def residents(self) -> list[str]:
        """The Serve replicas and proxies that live here; none when the node has ended. Raises Unavailable."""
        with _answering():
            if self.id not in _living(self._gcs):
                return []
            names = asyncio.run(self._actors())
        return sorted(_shown(name) for name in names if name.startswith(RESIDENTS))

    async def _actors(self) -> list[str]:
        """The names of the living actors of this node."""
        actors = await self._gcs.async_get_all_actor_info(
            actor_id=None, job_id=None, actor_state_name="ALIVE", timeout=RPC_TIMEOUT_S
        )
        return [actor.name for actor in actors.values() if actor.address.node_id.hex() == self.id]


def find_node(node_id: str | None = None) -> RayNode | None:
    """The worker node with this id, or of this machine; None when the machine's node has ended already.

    Raises ConfigurationError where no cluster is known, Unavailable where it does not answer, NotFound for an unknown
    id, InvalidRequest for the head, which cannot be drained, or where this machine has several nodes.
    """
    address = _address()
    _check_reachable(address)
    with _answering():
        gcs = GcsClient(address=address)
        living = _living(gcs)
    if node_id is not None:
        if node_id not in living:
            raise NotFound(f"the cluster has no living node {node_id!r}; `ray list nodes` shows them", "node")
        if HEAD_RESOURCE in living[node_id].resources_total:
            raise InvalidRequest("the head node cannot be drained: Ray Serve's controller lives there", "node")
        return RayNode(gcs, node_id)
    host = socket.gethostname()
    here = [
        key
        for key, node in living.items()
        if node.node_manager_hostname == host and HEAD_RESOURCE not in node.resources_total
    ]
    if len(here) > 1:
        raise InvalidRequest(f"{len(here)} Ray nodes run on {host}; choose one with --node", "node")
    return RayNode(gcs, here[0]) if here else None


def leave(node: RayNode, timeout_s: float, settle_s: float, say: Callable[[str], None]) -> None:
    """Drain ``node`` and wait until nothing of Serve is on it, ``timeout_s`` at most and ``settle_s`` at least.

    Each change is one line to ``say``. Raises Unavailable if the drain could not be asked for, and nothing later.
    """
    began = time.monotonic()
    node.drain(timeout_s)
    say(f"{node} drains for at most {timeout_s:g} s; Ray Serve starts its replicas elsewhere and lets streams finish")
    line = ""
    while (passed := time.monotonic() - began) < timeout_s:
        now, empty = _state(node)
        if now != line:
            say(f"{passed:.1f} s: {now}")
            line = now
        if empty:
            time.sleep(max(0.0, settle_s - passed))
            return
        time.sleep(POLL_S)
    say(
        f"{timeout_s:g} s are over ({line}); what is left ends with this node, because no other had room for a replica "
        "in time or a stream takes longer"
    )


def _state(node: RayNode) -> tuple[str, bool]:
    """What is on the node, in words, and whether that is nothing."""
    try:
        here = node.residents()
    except Unavailable as error:  # the head may be restarting; the drain goes on without us
        return error.message, False
    return (f"still on it: {', '.join(here)}", False) if here else ("nothing of Ray Serve is left on it", True)


def _address() -> str:
    """``host:port`` of the control service, from RAY_ADDRESS or the session that runs on this machine."""
    try:
        address = canonicalize_bootstrap_address(None)  # type: ignore[arg-type]  # "auto" takes any cluster it finds
    except (ValueError, ConnectionError) as error:
        raise ConfigurationError(f"RAY_ADDRESS cannot be used: {error}", "RAY_ADDRESS") from None
    if address is None:
        raise ConfigurationError("no Ray cluster is known here; set RAY_ADDRESS to its host:port", "RAY_ADDRESS")
    return address


def _check_reachable(address: str) -> None:
    """Ray's own client takes 40 s to find out that nobody listens."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), RPC_TIMEOUT_S).close()
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno) if error.errno else str(error)
        raise Unavailable(f"Ray's control service at {address} cannot be reached: {reason}") from None


def _living(gcs: GcsClient) -> dict[str, Any]:
    """``GcsNodeInfo`` of the living nodes by their id."""
    nodes = gcs.get_all_node_info(timeout=RPC_TIMEOUT_S)
    return {key.hex(): node for key, node in nodes.items() if node.state == ALIVE}


def _shown(name: str) -> str:
    """``Xtts#a1b2`` for a replica's full name, ``proxy`` for a proxy's."""
    return name.split("::", 1)[1].split("#", 1)[1] if name.startswith(RESIDENTS[0]) else "proxy"


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except RayError as error:
        first = str(error).strip().splitlines()[0]
        raise Unavailable(f"Ray's control service does not answer: {first}") from error
