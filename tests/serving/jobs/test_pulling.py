"""How loops look for work, and how they end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from serving.errors import StorageError
from serving.jobs import pulling
from serving.jobs.pulling import Pulling


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IDLE_S", "FAULT_S"):
        monkeypatch.setattr(pulling, name, 0.01)


def keep(work: int) -> None:
    raise AssertionError(f"{work} was given back")


async def test_work_is_found_behind_empty_looks_and_a_database_that_is_away() -> None:
    answers: list[int | StorageError | None] = [None, StorageError("away"), None, 7]

    def claim() -> int | None:
        answer = answers.pop(0)
        if isinstance(answer, StorageError):
            raise answer
        return answer

    assert await Pulling(claim, keep).next() == 7
    assert not answers


async def test_one_task_looks_at_a_time() -> None:
    looking, most = 0, 0
    lock = threading.Lock()
    work = iter(range(20))

    def claim() -> int:
        nonlocal looking, most
        with lock:
            looking += 1
            most = max(most, looking)
        threading.Event().wait(0.005)
        with lock:
            looking -= 1
            return next(work)

    loop = Pulling(claim, keep)
    assert sorted(await asyncio.gather(*[loop.next() for _ in range(20)])) == list(range(20))
    assert most == 1


async def test_who_waits_between_two_looks_may_be_told_to_look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "IDLE_S", 30.0)
    answers: list[int | None] = [None, 7]
    loop = Pulling(lambda: answers.pop(0), keep)
    found = asyncio.create_task(loop.next())
    while len(answers) == 2:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    loop.look_again()
    assert await asyncio.wait_for(found, 10) == 7


async def test_what_is_taken_while_the_loop_is_closed_is_given_back() -> None:
    looking, go_on = threading.Event(), threading.Event()
    given_back: list[int] = []

    def claim() -> int:
        looking.set()
        go_on.wait()
        return 7

    loop = Pulling(claim, given_back.append)

    async def slot() -> None:
        await loop.next()

    loop.run(slot())
    await asyncio.to_thread(looking.wait)
    closing = asyncio.create_task(loop.close())
    await asyncio.sleep(0.05)
    go_on.set()
    await closing
    assert given_back == [7]


async def test_a_part_that_ends_by_a_bug_is_told_and_one_that_is_closed_is_not() -> None:
    async def buggy() -> None:
        raise ZeroDivisionError

    loop: Pulling[int] = Pulling(lambda: None, keep)
    loop.run(buggy())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert isinstance(loop.failure, ZeroDivisionError)
    await loop.close()
    assert loop.failure is None
