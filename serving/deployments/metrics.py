"""Metrics through Ray: every process records, every node exports, any ingress shows them all."""

from __future__ import annotations

import asyncio
import logging
import urllib.request
from collections.abc import Iterable, Mapping
from http.client import HTTPException
from typing import Any

import ray
from ray.util import metrics as ray_metrics

from serving.metrics import Metric, Metrics, of_kind

logger = logging.getLogger(__name__)

SHOWN = ("ray_kubevoice_", "ray_serve_")
"""Families that ``/metrics`` shows; a node's own port has Ray's internals too."""

SCRAPE_TIMEOUT_S = 2.0


class RayMetrics(Metrics):
    """Records with ``ray.util.metrics``: Ray exports each family as ``ray_<name>`` on every node's metrics port."""

    def __init__(self) -> None:
        self._counters = {m: ray_metrics.Counter(m.name, m.help, m.labels) for m in of_kind("counter")}
        self._gauges = {m: ray_metrics.Gauge(m.name, m.help, m.labels) for m in of_kind("gauge")}
        self._histograms = {
            m: ray_metrics.Histogram(m.name, m.help, list(m.buckets), m.labels) for m in of_kind("histogram")
        }

    def add(self, metric: Metric, value: float = 1.0, **labels: str) -> None:
        if value > 0:
            self._counters[metric].inc(value, labels)
        else:  # inc() refuses nothing to add, which begins a series: a rate sees its first event only after a zero
            self._counters[metric]._record(0.0, labels)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        self._gauges[metric].set(value, labels)

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        self._histograms[metric].observe(value, labels)

    async def render(self) -> bytes:
        """The families of all living nodes, merged, so that one scrape of the service sees the whole cluster."""
        nodes = await asyncio.to_thread(ray.nodes)
        pages = (asyncio.to_thread(scrape, url) for url in metrics_urls(nodes))
        return merge_expositions(await asyncio.gather(*pages))


def merge_expositions(texts: Iterable[str]) -> bytes:
    """Several nodes' text formats as one: each family's header once, then all its samples."""
    families: dict[str, tuple[list[str], list[str]]] = {}
    for text in texts:
        name = ""
        for line in text.splitlines():
            if line.startswith("# "):
                name = line.split(" ", 3)[2]
                header = families.setdefault(name, ([], []))[0]
                if len(header) < 2 and line not in header:
                    header.append(line)
            elif line:
                families.setdefault(name, ([], []))[1].append(line)
    lines = [line for name, (head, rows) in families.items() if name.startswith(SHOWN) for line in (*head, *rows)]
    return ("\n".join(lines) + "\n").encode()


def metrics_urls(nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Where the living ones of ``ray.nodes()`` export their metrics."""
    living = [(node["NodeManagerAddress"], node["MetricsExportPort"]) for node in nodes if node["Alive"]]
    return [f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics" for host, port in living]


def scrape(url: str) -> str:
    """A node's page; empty, with a log line, when it does not answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # our own nodes are never behind a proxy
    try:
        with opener.open(url, timeout=SCRAPE_TIMEOUT_S) as response:
            text: str = response.read().decode()
            return text
    except (OSError, HTTPException, ValueError) as error:
        logger.warning("no metrics from %s: %s", url, error)  # a node that goes away must not hide the others
        return ""
