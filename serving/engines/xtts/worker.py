"""The one thread that owns the model and its device.

Coroutines submit work as a generator; the thread advances one at a time and hands its items back. A generator yields
None where others may take a turn (between sentences). Jobs go first come, first served, but for one whose consumer is
slow: when its buffer is full, the thread waits for it only while nobody else wants the thread; else the job finishes
its sentence into the buffer, which bounds the buffer, and steps aside until it has been read.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Generic, TypeVar

from serving.engines.base import EngineStats
from serving.errors import Unavailable

T = TypeVar("T")
BUFFERED = 4
"""Items a job may be ahead of its consumer."""


class _Job(Generic[T]):
    """One generator, its consumer, and what lies between them; all fields change under the worker's lock."""

    def __init__(self, steps: Generator[T | None, None, None]) -> None:
        self.steps = steps
        self.items: deque[T] = deque()
        self.error: BaseException | None = None
        self.finished = False
        self.cancelled = False
        self.started = False
        self.submitted = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self.ready = asyncio.Event()

    @property
    def runnable(self) -> bool:
        return self.cancelled or len(self.items) < BUFFERED

    def wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self.ready.set)
        except RuntimeError:  # the consumer's event loop is gone, and the consumer with it
            self.cancelled = True


class Worker:
    """A thread named ``name`` that works on jobs until ``close``."""

    def __init__(self, name: str) -> None:
        self._changed = threading.Condition()
        self._jobs: deque[_Job[Any]] = deque()
        self._closed = False
        self._progress = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def stream(self, steps: Generator[T | None, None, None], *, urgent: bool = False) -> AsyncGenerator[T, None]:
        """The items of ``steps``, which runs on the thread; closing this generator closes ``steps`` at its next item.

        ``urgent`` work goes before waiting jobs, at the next turn. Raises what ``steps`` raises, and Unavailable once
        the worker is closed.
        """
        job = _Job(steps)
        self._submit(job, urgent)
        try:
            while (item := await self._next(job)) is not None:
                yield item
        finally:
            self._cancel(job)

    async def call(self, function: Callable[[], None]) -> None:
        """Run ``function`` on the thread before the jobs that wait."""

        def steps() -> Generator[None, None, None]:
            function()
            yield

        async for _ in self.stream(steps(), urgent=True):
            pass

    def stats(self) -> EngineStats:
        """Jobs begun and waiting, and how long the oldest waits."""
        with self._changed:
            waiting = [job.submitted for job in self._jobs if not job.started]
            return EngineStats(
                active=len(self._jobs) - len(waiting),
                queued=len(waiting),
                queue_age_s=time.monotonic() - min(waiting) if waiting else 0.0,
            )

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closed

    @property
    def busy_s(self) -> float | None:
        """Seconds since the thread last got something done, None when it has nothing to do."""
        with self._changed:
            runnable = any(job.runnable for job in self._jobs)
            return time.monotonic() - self._progress if runnable else None

    def close(self) -> None:
        """End all jobs and wait for the thread; safe to call again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _submit(self, job: _Job[Any], urgent: bool) -> None:
        with self._changed:
            if not self.alive:
                raise Unavailable("the engine is closed")
            if not self._jobs:
                self._progress = time.monotonic()
            if urgent:
                self._jobs.appendleft(job)
            else:
                self._jobs.append(job)
            self._changed.notify_all()

    async def _next(self, job: _Job[T]) -> T | None:
        while True:
            job.ready.clear()
            with self._changed:
                if job.items:
                    self._changed.notify_all()
                    return job.items.popleft()
                if job.finished:
                    if job.error is not None:
                        raise job.error
                    return None
            await job.ready.wait()

    def _cancel(self, job: _Job[Any]) -> None:
        with self._changed:
            job.cancelled = True
            self._changed.notify_all()

    def _run(self) -> None:
        while (job := self._pick()) is not None:
            try:
                self._advance(job)
            except BaseException as error:  # noqa: BLE001 it is raised again where the job was submitted
                self._finish(job, error)

    def _pick(self) -> _Job[Any] | None:
        """The first job that can run, None once closed."""
        with self._changed:
            while not self._closed:
                job = next((job for job in self._jobs if job.runnable), None)
                if job is not None:
                    job.started = True
                    self._progress = time.monotonic()
                    return job
                self._changed.wait()
        for job in tuple(self._jobs):
            job.steps.close()
            self._finish(job, Unavailable("the engine was closed"))
        return None

    def _advance(self, job: _Job[Any]) -> None:
        """Run ``job`` to its next turn, its end, or the departure of its consumer."""
        while not job.cancelled:
            try:
                item = next(job.steps)
            except StopIteration:
                return self._finish(job, None)
            if item is None:
                return None
            if not self._deliver(job, item):
                return None
        job.steps.close()
        return self._finish(job, None)

    def _deliver(self, job: _Job[Any], item: Any) -> bool:
        """Hand ``item`` over and wait while the consumer is far behind and nobody else waits; False once closed."""
        with self._changed:
            self._progress = time.monotonic()
            job.items.append(item)
            job.wake()
            while not (job.runnable or self._closed or any(other.runnable for other in self._jobs)):
                self._changed.wait()
            return not self._closed

    def _finish(self, job: _Job[Any], error: BaseException | None) -> None:
        with self._changed:
            self._jobs.remove(job)
            job.error = error
            job.finished = True
            job.wake()
