"""One process at a time has a run. The periods are short here; who waits goes by its own clock."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from training.xtts.lock import LOCK_FILE, LockLost, RunLock
from training.xtts.signals import Stopped

QUICK = 0.05


def silent(directory: Path) -> RunLock:
    """A lock whose holder lives but has stopped touching it, as on a node that is cut off."""
    lock = RunLock(directory, period_s=QUICK)
    lock.acquire()
    lock._stop.set()
    return lock


def stop_after(calls: int) -> Callable[[], None]:
    left = iter(range(calls))

    def check() -> None:
        if next(left, None) is None:
            raise Stopped

    return check


def test_a_second_process_waits_while_the_first_is_alive(tmp_path: Path) -> None:
    with RunLock(tmp_path, period_s=QUICK) as first:
        first.acquire()
        second = RunLock(tmp_path, period_s=QUICK)
        waits = int(4 * second.stale_s / QUICK) * 2
        with pytest.raises(Stopped):
            second.acquire(stop_after(waits))
        first.confirm()


def test_it_has_the_run_once_the_first_gives_it_back(tmp_path: Path) -> None:
    first, second = RunLock(tmp_path, period_s=QUICK), RunLock(tmp_path, period_s=QUICK)
    first.acquire()
    waiting = threading.Thread(target=second.acquire)
    waiting.start()
    first.release()
    waiting.join()
    second.confirm()
    second.release()
    assert not (tmp_path / LOCK_FILE).exists()


def test_a_silent_holder_is_taken_over_from_and_stops_when_it_wakes(tmp_path: Path) -> None:
    first = silent(tmp_path)
    with RunLock(tmp_path, period_s=QUICK) as second:
        second.acquire()
        assert second.held
        with pytest.raises(LockLost, match="another has it"):
            first.confirm()
        assert not first.held
        first.release()
        second.confirm()


def test_of_many_that_take_over_at_once_one_has_the_run(tmp_path: Path) -> None:
    silent(tmp_path)
    locks = [RunLock(tmp_path, period_s=QUICK) for _ in range(4)]
    ended = threading.Event()

    def wait(lock: RunLock) -> None:
        def check() -> None:
            if ended.is_set():
                raise Stopped

        try:
            lock.acquire(check)
        except Stopped:
            return

    threads = [threading.Thread(target=wait, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    while not any(lock.held for lock in locks):
        time.sleep(QUICK)
    time.sleep(4 * QUICK)
    ended.set()
    for thread in threads:
        thread.join()
    confirmed = []
    for lock in locks:
        if lock._thread is not None:
            try:
                lock.confirm()
                confirmed.append(lock)
            except LockLost:
                continue
    assert len(confirmed) == 1
    for lock in locks:
        lock.release()


def test_nobody_waits_for_a_dead_process_of_this_machine(tmp_path: Path) -> None:
    code = f"""
import os, sys, pathlib
from training.xtts.lock import RunLock
RunLock(pathlib.Path({str(tmp_path)!r})).acquire()
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (tmp_path / LOCK_FILE).exists()
    with RunLock(tmp_path, period_s=2.0) as lock:
        lock.acquire(stop_after(2))
        lock.confirm()


def test_a_process_of_the_same_name_on_another_machine_is_waited_for(tmp_path: Path) -> None:
    content = {"owner": "x", "host": "job-0", "pid": 1, "namespace": "another boot", "started": "5"}
    (tmp_path / LOCK_FILE).write_text(json.dumps(content))
    with pytest.raises(Stopped):
        RunLock(tmp_path).acquire(stop_after(1))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_lock_that_was_torn_is_taken_over_when_nobody_touches_it(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK_FILE).write_text(content)
    with RunLock(tmp_path, period_s=QUICK) as lock:
        lock.acquire()
        lock.confirm()


def test_a_lock_that_was_deleted_is_lost(tmp_path: Path) -> None:
    with RunLock(tmp_path, period_s=QUICK) as lock:
        lock.acquire()
        (tmp_path / LOCK_FILE).unlink()
        with pytest.raises(LockLost, match="deleted"):
            lock.confirm()


def test_the_ranks_of_a_run_may_write_to_it_while_their_leader_has_it(tmp_path: Path) -> None:
    other = RunLock(tmp_path)
    assert other.may_write()  # nobody has it
    leader = silent(tmp_path)
    rank = RunLock(tmp_path)
    assert not rank.may_write()
    rank.follow(leader.owner)
    assert rank.may_write()
    assert leader.may_write()
    rank.release()
    leader.confirm()
    with RunLock(tmp_path, period_s=QUICK) as second:
        second.acquire()
        assert second.may_write()
        assert not any(lock.may_write() for lock in (leader, rank, other))
    assert not any(lock.may_write() for lock in (leader, rank))  # nobody has it, but somebody had
    leader.release()


def test_a_volume_that_does_not_answer_costs_the_run_before_another_may_take_it(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    lock = RunLock(directory, period_s=QUICK)
    lock.acquire()
    lock._read = lambda: (_ for _ in ()).throw(OSError(5, "Input/output error"))  # type: ignore[method-assign]
    while lock.held:
        time.sleep(QUICK)
    with pytest.raises(LockLost, match="not answered"):
        lock.check()
