"""What is measured, named once; where it goes is the recorder's business."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCY_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)
DURATION_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
RATIO = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One time series family. Counters are exported with ``_total`` appended."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


REQUESTS = Metric("kubevoice_requests", "counter", "HTTP requests answered", ("method", "route", "status"))
REQUEST_SECONDS = Metric(
    "kubevoice_request_seconds", "histogram", "From request to last byte", ("method", "route"), DURATION_S
)
REFUSALS = Metric("kubevoice_refusals", "counter", "Requests refused, by error code", ("reason",))
QUOTAS_UNCOUNTED = Metric(
    "kubevoice_quotas_uncounted", "counter", "Questions about quotas that their store did not answer", ("store",)
)
FIRST_AUDIO = Metric(
    "kubevoice_first_audio_seconds", "histogram", "From request to first audio byte", ("model", "format"), LATENCY_S
)
REAL_TIME_FACTOR = Metric(
    "kubevoice_real_time_factor", "histogram", "Seconds waited for the engine per second of audio", ("model",), RATIO
)
AUDIO_SECONDS = Metric("kubevoice_audio_seconds", "counter", "Seconds of audio made", ("model", "format"))
CANCELLED = Metric("kubevoice_cancelled", "counter", "Speech streams that the client left before the end", ("model",))
BROKEN = Metric("kubevoice_broken_streams", "counter", "Speech streams that failed after their first byte", ("model",))
ACTIVE_STREAMS = Metric("kubevoice_active_streams", "gauge", "Requests that a speech replica works on", ("model",))
QUEUED_STREAMS = Metric("kubevoice_queued_streams", "gauge", "Requests that wait inside a speech replica", ("model",))
QUEUE_AGE = Metric("kubevoice_queue_age_seconds", "gauge", "Age of the oldest waiting request", ("model",))
MODEL_LOADS = Metric("kubevoice_model_loads", "counter", "Model loads, by outcome", ("engine", "outcome"))
MODEL_LOAD_SECONDS = Metric(
    "kubevoice_model_load_seconds", "histogram", "Time to load a model and speak its self-test", ("engine",), DURATION_S
)
REPLICA_ALIVE = Metric(
    "kubevoice_replica_alive_timestamp_seconds", "gauge", "When a replica last said that it lives", ("deployment",)
)
"""Counts replicas that run; an old time is one that hangs, or is gone and not forgotten by Ray yet."""
CUT = Metric("kubevoice_cut_sentences", "counter", "Sentences cut because they did not end by themselves", ("model",))
SLOTS = Metric("kubevoice_slots", "gauge", "Sentences that a speech replica can decode at a time", ("model",))
SLOTS_USED = Metric("kubevoice_slots_used", "gauge", "Sentences that a speech replica decodes now", ("model",))
TOKENS_PER_S = Metric("kubevoice_tokens_per_second", "gauge", "Audio tokens a replica makes in a second", ("model",))
AUDIO_PER_S = Metric(
    "kubevoice_audio_seconds_per_second", "gauge", "Audio seconds a replica makes in a second", ("model",)
)
VOLUME_FREE = Metric("kubevoice_volume_free_bytes", "gauge", "Space left on the volume")
VOLUME_SIZE = Metric("kubevoice_volume_size_bytes", "gauge", "Size of the volume")
JOB_ITEMS = Metric("kubevoice_job_items", "counter", "Texts of jobs, by what came of an attempt", ("outcome",))
JOB_ITEMS_LEFT = Metric("kubevoice_job_items_left", "gauge", "Texts of jobs that wait or are being spoken")
WEBHOOKS = Metric("kubevoice_webhooks", "counter", "Messages to webhooks, by what came of an attempt", ("outcome",))
AUDIT_LOST = Metric(
    "kubevoice_audit_lost", "counter", "Changes of which the audit log has a line but no row", ("action",)
)

ALL = (
    REQUESTS, REQUEST_SECONDS, REFUSALS, FIRST_AUDIO, REAL_TIME_FACTOR, AUDIO_SECONDS, CANCELLED, BROKEN,
    ACTIVE_STREAMS, QUEUED_STREAMS, QUEUE_AGE, MODEL_LOADS, MODEL_LOAD_SECONDS, REPLICA_ALIVE, CUT,
    SLOTS, SLOTS_USED, TOKENS_PER_S, AUDIO_PER_S, VOLUME_FREE, VOLUME_SIZE,
    JOB_ITEMS, JOB_ITEMS_LEFT, AUDIT_LOST, QUOTAS_UNCOUNTED, WEBHOOKS,
)  # fmt: skip


class Metrics(ABC):
    """A recorder of the metrics above."""

    @abstractmethod
    def add(self, metric: Metric, value: float = 1.0, **labels: str) -> None:
        """Add to a counter."""

    @abstractmethod
    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""

    @abstractmethod
    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Put a value into a histogram."""

    @abstractmethod
    async def render(self) -> bytes:
        """Everything recorded so far in Prometheus's text format."""


class LocalMetrics(Metrics):
    """Metrics of this process only: for tests and for engines used as a library."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counters = {m: Counter(m.name, m.help, m.labels, registry=self._registry) for m in of_kind("counter")}
        self._gauges = {m: Gauge(m.name, m.help, m.labels, registry=self._registry) for m in of_kind("gauge")}
        self._histograms = {
            m: Histogram(m.name, m.help, m.labels, registry=self._registry, buckets=m.buckets)
            for m in of_kind("histogram")
        }

    def add(self, metric: Metric, value: float = 1.0, **labels: str) -> None:
        self._counters[metric].labels(**labels).inc(value)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        self._gauges[metric].labels(**labels).set(value)

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        self._histograms[metric].labels(**labels).observe(value)

    async def render(self) -> bytes:
        return generate_latest(self._registry)


def of_kind(kind: str) -> list[Metric]:
    """The metrics of one kind."""
    return [metric for metric in ALL if metric.kind == kind]
