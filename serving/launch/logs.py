"""The log of one pod, line by line, across lost connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from kubernetes import client

from serving.errors import NotFound, Unavailable
from serving.launch.base import Watch
from serving.launch.cluster import TIMEOUT_S, Cluster
from serving.launch.lines import Lines
from serving.launch.permissions import GET_LOGS
from serving.launch.template import CONTAINER

SILENCE_S = 60.0
"""Seconds without a line after which a followed log is asked for anew; the connection may be half dead."""

OVERLAP_S = 5
"""Seconds of log that are read again after a reconnection, against uneven clocks; what was seen is left out."""


def read(cluster: Cluster, pod: str, tail: int | None = None) -> Iterator[str]:
    """The lines so far, or the last ``tail`` of them. Raises NotFound, Unavailable or ConfigurationError."""
    watch = Watch()
    for _, line in _lines(cluster, pod, follow=False, tail=tail, since_s=None, silence_s=TIMEOUT_S[1], watch=watch):
        yield line


def follow(
    cluster: Cluster, pod: str, ended: Callable[[], bool], *, tail: int | None = None, pause_s: float, watch: Watch
) -> Iterator[str]:
    """The lines so far, or the last ``tail`` of them, and those to come, until ``ended()``: whether the pod's command
    has. Lines come once, in order. When ``watch`` closes, nothing more comes.

    ``ended`` bounds how long an unreachable cluster is put up with, by raising Unavailable, which is raised here too
    where the end of the log cannot be read.
    """
    seen, seen_at = "", 0.0
    while not watch.closed:
        last = ended()
        since_s = int(time.monotonic() - seen_at) + OVERLAP_S if seen else None
        first, resumed = None if seen else tail, seen
        try:
            lines = _lines(cluster, pod, follow=not last, tail=first, since_s=since_s, silence_s=SILENCE_S, watch=watch)
            for stamp, line in lines:
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
        watch.sleep(pause_s)


def _lines(
    cluster: Cluster, pod: str, *, follow: bool, tail: int | None, since_s: int | None, silence_s: float, watch: Watch
) -> Iterator[tuple[str, str]]:
    """(RFC 3339 time, line) of each line; of one that comes as several each has its time."""
    asked: dict[str, Any] = {} if tail is None else {"tail_lines": tail}
    with cluster.asking(GET_LOGS):
        response = client.CoreV1Api(cluster.api).read_namespaced_pod_log(
            pod,
            cluster.namespace,
            container=CONTAINER,
            follow=follow,
            since_seconds=since_s,
            timestamps=True,
            **asked,
            _preload_content=False,
            _request_timeout=(TIMEOUT_S[0], silence_s),
        )
        try:
            lines, stamp = Lines(), ""
            with watch.unblocking(lambda: _shut(response)):
                for chunk in response.stream(decode_content=False):  # type: ignore[attr-defined]
                    for line, ends in lines.feed(chunk):
                        stamp, text = _split(line, stamp)
                        yield stamp, text
                        stamp = "" if ends else stamp
            if rest := lines.rest():
                yield _split(rest, stamp)
        finally:
            response.close()  # type: ignore[attr-defined]


def _shut(response: Any) -> None:
    """Wake up who reads ``response`` in another thread."""
    with suppress(ValueError, RuntimeError, OSError):  # it has ended already
        response.shutdown()


def _split(line: bytes, begun: str) -> tuple[str, str]:
    """(time, text) of a line, or of a further part of one that has ``begun`` at that time."""
    text = line.decode(errors="replace")
    if begun:
        return begun, text
    stamp, _, text = text.partition(" ")
    return stamp, text
