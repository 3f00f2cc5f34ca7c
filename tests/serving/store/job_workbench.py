"""Jobs for tests."""

from __future__ import annotations

from serving.store.job import Job, JobOptions, NewItem
from serving.store.job_queue import Claimed, ItemResult, JobQueue
from serving.store.jobs import JobStore

OPTIONS = JobOptions(model="espeak-ng", voice="default", language="en", response_format="wav", speed=1.0, seed=7)


def add(jobs: JobStore, *, items: int = 1, tenant: str = "a", key: str | None = None, digest: str = "") -> Job:
    texts = [NewItem(f"Text {number}.") for number in range(1, items + 1)]
    return jobs.add(tenant=tenant, name=None, kind="list", options=OPTIONS, items=texts, key=key, digest=digest)


def finish(queue: JobQueue, claimed: Claimed, audio: str = "a.wav") -> bool:
    return queue.complete(claimed, ItemResult(audio, 240, ((claimed.text, 240),), 1, 2))
