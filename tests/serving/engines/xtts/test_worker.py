import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Generator

import pytest

from serving.engines.xtts.worker import BUFFERED, Worker
from serving.errors import Unavailable

Steps = Generator[str | None, None, None]


@pytest.fixture
async def worker() -> AsyncGenerator[Worker, None]:
    worker = Worker("test")
    yield worker
    await asyncio.to_thread(worker.close)


def sentences(name: str, count: int, chunks: int, log: list[str]) -> Steps:
    for sentence in range(count):
        if sentence:
            yield None
        for chunk in range(chunks):
            log.append(f"{name}{sentence}.{chunk}")
            yield log[-1]


async def read(worker: Worker, steps: Steps) -> list[str]:
    return [item async for item in worker.stream(steps)]


async def settle(log: list[str]) -> None:
    """Wait until the worker has stopped adding to ``log``."""
    size = -1
    while len(log) != size:
        size = len(log)
        await asyncio.sleep(0.05)


async def test_items_arrive_in_order_and_jobs_first_come_first_served(worker: Worker) -> None:
    log: list[str] = []
    results = await asyncio.gather(*(read(worker, sentences(name, 2, 3, log)) for name in "ABC"))
    assert [item for result in results for item in result] == log
    assert "".join(item[0] for item in log) == "A" * 6 + "B" * 6 + "C" * 6


async def test_the_worker_stays_few_items_ahead_of_a_slow_consumer(worker: Worker) -> None:
    log: list[str] = []
    async with contextlib.aclosing(worker.stream(sentences("A", 1, 50, log))) as slow:
        await anext(slow)
        await settle(log)
        assert len(log) <= BUFFERED + 2


async def test_a_slow_consumer_holds_up_nobody_and_still_gets_everything(worker: Worker) -> None:
    log: list[str] = []
    async with contextlib.aclosing(worker.stream(sentences("A", 3, 10, log))) as slow:
        first = await anext(slow)
        await settle(log)
        assert await read(worker, sentences("B", 2, 10, log)) == [f"B{s}.{c}" for s in (0, 1) for c in range(10)]
        assert not any(item.startswith("A1") for item in log)
        assert [first] + [item async for item in slow] == [f"A{s}.{c}" for s in (0, 1, 2) for c in range(10)]


async def test_closing_the_stream_closes_the_job_within_one_item_and_frees_the_worker(worker: Worker) -> None:
    closed = threading.Event()
    produced = 0

    def endless() -> Steps:
        nonlocal produced
        try:
            while True:
                produced += 1
                yield "x"
        finally:
            closed.set()

    async with contextlib.aclosing(worker.stream(endless())) as stream:
        await anext(stream)
    assert await asyncio.to_thread(closed.wait, 5)
    assert produced <= BUFFERED + 2
    assert await read(worker, sentences("B", 1, 1, [])) == ["B0.0"]
    assert worker.stats().active == worker.stats().queued == 0


class Gate:
    """A job that stays in the worker's thread from ``begun`` until ``opened``, then does ``rest``."""

    def __init__(self, rest: Steps) -> None:
        self.begun, self.opened, self._rest = threading.Event(), threading.Event(), rest

    def steps(self) -> Steps:
        self.begun.set()
        assert self.opened.wait(30)
        yield from self._rest

    async def entered(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, 30)


async def until_queued(worker: Worker, count: int) -> None:
    async with asyncio.timeout(30):
        while worker.stats().queued < count:  # noqa: ASYNC110 - the worker tells nobody
            await asyncio.sleep(0)


async def test_a_cancelled_wait_cancels_a_job_that_has_not_begun(worker: Worker) -> None:
    log: list[str] = []
    gate = Gate(sentences("A", 1, 1, []))
    first = asyncio.create_task(read(worker, gate.steps()))
    await gate.entered()
    second = asyncio.create_task(read(worker, sentences("B", 1, 1, log)))
    await until_queued(worker, 1)
    stats = worker.stats()
    assert (stats.active, stats.queued) == (1, 1)
    assert stats.queue_age_s > 0
    second.cancel()
    await asyncio.wait([second])
    gate.opened.set()
    assert await first == ["A0.0"]
    assert await read(worker, sentences("C", 1, 1, [])) == ["C0.0"]
    assert log == []


async def test_an_error_comes_after_the_items_before_it_and_spares_the_next_job(worker: Worker) -> None:
    def failing() -> Steps:
        yield "a"
        raise ValueError("torn")

    stream = worker.stream(failing())
    assert await anext(stream) == "a"
    with pytest.raises(ValueError, match="torn"):
        await anext(stream)
    assert await read(worker, sentences("B", 1, 1, [])) == ["B0.0"]


async def test_urgent_work_goes_in_at_the_next_turn(worker: Worker) -> None:
    log: list[str] = []
    gate = Gate(sentences("A", 2, 1, log))
    speaking = asyncio.create_task(read(worker, gate.steps()))
    await gate.entered()
    waiting = asyncio.create_task(read(worker, sentences("B", 1, 1, log)))
    urgent = asyncio.create_task(worker.call(lambda: log.append("urgent")))
    await until_queued(worker, 2)
    gate.opened.set()
    await asyncio.gather(speaking, waiting, urgent)
    assert log == ["A0.0", "urgent", "A1.0", "B0.0"]


async def test_closing_ends_running_and_waiting_jobs_and_refuses_new_ones() -> None:
    worker = Worker("test")
    log: list[str] = []
    tasks = [asyncio.create_task(read(worker, sentences(name, 10**6, 1, log))) for name in "AB"]
    await asyncio.sleep(0.05)
    await asyncio.to_thread(worker.close)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    with pytest.raises(Unavailable, match="closed"):
        await read(worker, sentences("C", 1, 1, log))
    worker.close()
    assert not worker.alive


async def test_busy_is_told_only_while_there_is_work(worker: Worker) -> None:
    def busy() -> float | None:
        return worker.busy_s

    gate = Gate(sentences("A", 1, 1, []))
    assert busy() is None
    task = asyncio.create_task(read(worker, gate.steps()))
    await gate.entered()
    await asyncio.sleep(0.1)
    assert (busy() or 0) > 0.05
    gate.opened.set()
    await task
    assert busy() is None
