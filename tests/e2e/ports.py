"""Ports for servers that listen some time after their port was chosen, as those of Ray Serve do."""

from __future__ import annotations

import itertools
import os
import socket

FIRST, COUNT = 20_000, 10_000
"""Below the ports that Linux gives to whoever asks for any (32768 on): Ray's processes do that by the hundred, and one
that gets the port of a proxy that has not started yet would share it."""

INGRESS_PORTS = {
    "chart": (30_000, 30_499),
    "nodes": (30_500, 30_999),
    "haproxy": (31_001, 31_999),
    "benchmark": (32_000, 32_499),
}
"""Where Ray Serve puts the API's replicas behind HAProxy, for each kind of cluster that tests start side by side: a
HAProxy that has not heard yet of its replica's end must not find another cluster's there."""

_numbers = itertools.count(os.getpid() * 97)


def free_port() -> int:
    """A port of loopback on which nobody listens; each call has another one, and so has a process beside this one."""
    for number in _numbers:
        port = FIRST + number % COUNT
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("the numbers do not end")


def ingress_ports(cluster: str) -> dict[str, str]:
    """The environment that keeps the API's replicas of ``cluster`` among its own ports."""
    first, last = INGRESS_PORTS[cluster]
    return {
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(last),
    }
