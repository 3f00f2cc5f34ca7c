"""The log of one pod, line by line, across lost connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from kubernetes import client

from serving.errors import NotFound, Unavailable
from serving.launch.cluster import TIMEOUT_S, Cluster
from serving.launch.permissions import GET_LOGS
from serving.launch.template import CONTAINER

SILENCE_S = 60.0
"""Seconds without a line after which a followed log is asked for anew; the connection may be half dead."""

OVERLAP_S = 5
"""Seconds of log that are read again after a reconnection, against uneven clocks; what was seen is left out."""


def read(cluster: Cluster, pod: str) -> Iterator[str]:
    """The lines so far. Raises NotFound, Unavailable or ConfigurationError."""
    for _, line in _lines(cluster, pod, follow=False, since_s=None, silence_s=TIMEOUT_S[1]):
        yield line


def follow(cluster: Cluster, pod: str, ended: Callable[[], bool], *, pause_s: float) -> Iterator[str]:
    """The lines so far and those to come, until ``ended()``: whether the pod's command has. Lines come once, in order.

    ``ended`` bounds how long an unreachable cluster is put up with, by raising Unavailable, which is raised here too
    where the end of the log cannot be read.
    """
    seen, seen_at = "", 0.0
    while True:
        last = ended()
        since_s = int(time.monotonic() - seen_at) + OVERLAP_S if seen else None
        resumed = seen
        try:
            for stamp, line in _lines(cluster, pod, follow=not last, since_s=since_s, silence_s=SILENCE_S):
                if stamp > resumed:  # both are of one node's clock and of one width
                    seen, seen_at = stamp, time.monotonic()
                    yield line
        except NotFound:
            return  # evicted: the pod is gone, and its log with it
        except Unavailable:
            if last:
                raise
        if last:
            return
        time.sleep(pause_s)


def _lines(
    cluster: Cluster, pod: str, *, follow: bool, since_s: int | None, silence_s: float
) -> Iterator[tuple[str, str]]:
    """(RFC 3339 time, line) of each line."""
    with cluster.asking(GET_LOGS):
        response = client.CoreV1Api(cluster.api).read_namespaced_pod_log(
            pod,
            cluster.namespace,
            container=CONTAINER,
            follow=follow,
            since_seconds=since_s,
            timestamps=True,
            _preload_content=False,
            _request_timeout=(TIMEOUT_S[0], silence_s),
        )
        try:
            buffer = b""
            for chunk in response.stream(decode_content=False):  # type: ignore[attr-defined]
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    yield _split(line)
            if buffer:
                yield _split(buffer)
        finally:
            response.close()  # type: ignore[attr-defined]


def _split(line: bytes) -> tuple[str, str]:
    stamp, _, text = line.decode(errors="replace").partition(" ")
    return stamp, text
