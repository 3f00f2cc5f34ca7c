import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from serving.errors import Conflict, NotFound
from serving.store.database import Database
from serving.store.job import Job, NewItem
from serving.store.job_items import JobItemStore
from serving.store.job_queue import JobQueue
from serving.store.jobs import ORPHAN_S, JobStore, digest_of
from serving.store.volume import Volume
from tests.serving.store.job_workbench import OPTIONS, add, finish


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    volume = Volume(tmp_path / "data")
    volume.create()
    return volume


@pytest.fixture
def jobs(volume: Volume, database: Database) -> JobStore:
    return JobStore(volume, database)


def test_a_job_is_kept_with_its_items(jobs: JobStore, database: Database) -> None:
    items = [NewItem("One."), NewItem("Zwei.", voice="m1", language="de", text_normalization="off")]
    job = jobs.add(tenant="a", name="Two", kind="list", options=OPTIONS, items=items)

    assert jobs.get("a", job.id) == job
    assert (job.state, job.items, job.characters, job.options) == ("queued", 2, 9, OPTIONS)
    stored = JobItemStore(database).page(job, 10)
    assert [(each.number, each.text, each.voice, each.language, each.text_normalization) for each in stored] == [
        (1, "One.", None, None, None),
        (2, "Zwei.", "m1", "de", "off"),
    ]
    assert (job.directory / "items").is_dir()


def test_a_job_is_its_tenants_own(jobs: JobStore) -> None:
    job = add(jobs, tenant="a")
    assert jobs.list("b", 10) == []
    for attempt in (jobs.get, jobs.cancel, jobs.retry, jobs.delete):
        with pytest.raises(NotFound, match="there is no job"):
            attempt("b", job.id)


def test_jobs_are_listed_newest_first_in_pages(jobs: JobStore) -> None:
    ids = [add(jobs).id for _ in range(3)][::-1]
    assert [job.id for job in jobs.list("a", 2)] == ids[:2]
    assert [job.id for job in jobs.list("a", 2, after=ids[1])] == ids[2:]


def test_a_repeated_request_has_the_first_ones_job(jobs: JobStore) -> None:
    first = add(jobs, key="k", digest=digest_of(b"a"))
    assert add(jobs, key="k", digest=digest_of(b"a")) == first
    assert len(list((jobs.volume.root / "jobs" / "a").iterdir())) == 1
    with pytest.raises(Conflict, match="Idempotency-Key"):
        add(jobs, key="k", digest=digest_of(b"b"))
    assert add(jobs, tenant="b", key="k", digest=digest_of(b"b")).id != first.id


def test_a_cancelled_job_begins_nothing_more(jobs: JobStore, database: Database) -> None:
    job = add(jobs, items=3)
    queue = JobQueue(jobs.volume, database)
    held = queue.claim(60)
    assert held is not None
    assert jobs.cancel("a", job.id).state == "cancelled"

    assert queue.claim(60) is None
    assert queue.extend({held.lease}, 60) == set()
    assert not finish(queue, held)
    assert {item.state for item in JobItemStore(database).all(job)} == {"cancelled"}
    assert jobs.cancel("a", job.id).finished_at is not None


def test_only_a_job_that_has_ended_is_deleted_with_all_it_has(jobs: JobStore, database: Database) -> None:
    job = add(jobs)
    with pytest.raises(Conflict, match="cancel it first"):
        jobs.delete("a", job.id)
    jobs.cancel("a", job.id)
    assert jobs.delete("a", job.id) == job.id
    assert not job.directory.exists()
    assert list(JobItemStore(database).all(job)) == []
    with pytest.raises(NotFound):
        jobs.get("a", job.id)


def test_a_sweep_deletes_what_ended_long_ago_and_what_nobody_knows(jobs: JobStore) -> None:
    ended, active = add(jobs), add(jobs)
    jobs.cancel("a", ended.id)
    orphan, fresh = (jobs.volume.job("a", f"job-{name}") for name in ("old", "new"))
    for path in (orphan, fresh):
        path.mkdir()
    for path in (orphan, active.directory):
        age(path, ORPHAN_S + 1)

    assert jobs.sweep(timedelta(hours=1)) == 0
    assert ended.directory.is_dir()
    assert (orphan.exists(), fresh.exists(), active.directory.exists()) == (False, True, True)
    assert jobs.sweep(timedelta(0)) == 1
    assert [job.id for job in jobs.list("a", 10)] == [active.id]
    assert not ended.directory.exists()


def test_what_nobody_knows_is_kept_as_long_as_a_job(jobs: JobStore) -> None:
    add(jobs)
    used, unused = (jobs.volume.job("a", f"job-{name}") for name in ("used", "unused"))
    for path in (used, unused):
        (path / "items").mkdir(parents=True)
        (path / "items" / "00001.mp3").write_bytes(b"audio")
        age(path, 7200)
    age(unused / "items" / "00001.mp3", 7200)
    age(unused / "items", 7200)
    jobs.sweep(timedelta(hours=3))
    assert (used.exists(), unused.exists()) == (True, True)
    jobs.sweep(timedelta(hours=1))
    assert (used.exists(), unused.exists()) == (True, False)


def test_a_database_without_jobs_has_none_swept_from_the_volume(jobs: JobStore, tmp_path: Path) -> None:
    """The wrong database.url, or one that was lost and is restored later."""
    job = add(jobs)
    for path in (job.directory / "items", job.directory):
        age(path, 10 * ORPHAN_S)
    empty = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    empty.migrate()
    JobStore(jobs.volume, empty).sweep(timedelta(0))
    empty.close()
    assert (job.directory / "items").is_dir()


def test_a_job_that_is_tried_again_while_it_is_deleted_stays(
    jobs: JobStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = failed_job(jobs, database)
    after_the_next_look(jobs, monkeypatch, lambda: jobs.retry("a", job.id))
    with pytest.raises(Conflict, match="cancel it first"):
        jobs.delete("a", job.id)
    assert jobs.get("a", job.id).state == "queued"
    assert (job.directory / "items").is_dir()


def test_a_job_that_another_has_deleted_meanwhile_is_not_there(
    jobs: JobStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = failed_job(jobs, database)
    other = JobStore(jobs.volume, database)
    after_the_next_look(jobs, monkeypatch, lambda: other.delete("a", job.id))
    with pytest.raises(NotFound):
        jobs.delete("a", job.id)


def test_a_sweep_goes_on_past_a_job_that_is_tried_again(
    jobs: JobStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = failed_job(jobs, database), failed_job(jobs, database)
    after_the_next_look(jobs, monkeypatch, lambda: jobs.retry("a", first.id))
    assert jobs.sweep(timedelta(0)) == 1
    assert [job.id for job in jobs.list("a", 10)] == [first.id]
    assert not second.directory.exists()


def failed_job(jobs: JobStore, database: Database) -> Job:
    job = add(jobs)
    queue = JobQueue(jobs.volume, database)
    item = queue.claim(60)
    assert item is not None
    queue.fail(item, "no voice", final=True)
    return jobs.get("a", job.id)


def after_the_next_look(jobs: JobStore, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """``act`` once, when the next ``get`` has looked."""
    get = jobs.get

    def looked(tenant: str, key: str) -> Job:
        monkeypatch.undo()
        job = get(tenant, key)
        act()
        return job

    monkeypatch.setattr(jobs, "get", looked)


def age(path: Path, seconds: float) -> None:
    os.utime(path, (0, time.time() - seconds))


def test_items_that_failed_are_queued_again_and_only_those(jobs: JobStore, database: Database) -> None:
    job = add(jobs, items=3)
    queue = JobQueue(jobs.volume, database)
    for _ in range(3):
        item = queue.claim(60)
        assert item is not None
        assert queue.fail(item, "no voice", final=True) if item.number == 2 else finish(queue, item)
    assert jobs.get("a", job.id).state == "failed"

    again = jobs.retry("a", job.id)
    assert (again.state, again.failed, again.succeeded, again.finished_at) == ("queued", 0, 2, None)
    assert again.characters - again.characters_done == len("Text 2.")
    item = queue.claim(60)
    assert item is not None
    assert item.number == 2
    assert queue.claim(60) is None
    with pytest.raises(Conflict, match="has no item that failed"):
        jobs.retry("a", job.id)
    assert finish(queue, item)
    done = jobs.get("a", job.id)
    assert (done.state, done.succeeded, done.characters_done) == ("succeeded", 3, done.characters)


def test_a_cancelled_job_is_not_tried_again(jobs: JobStore, database: Database) -> None:
    job = add(jobs, items=2)
    queue = JobQueue(jobs.volume, database)
    item = queue.claim(60)
    assert item is not None
    queue.fail(item, "no voice", final=True)
    jobs.cancel("a", job.id)
    with pytest.raises(Conflict, match="was cancelled"):
        jobs.retry("a", job.id)
