import threading
import time

from serving.store.database import Database
from serving.store.job_items import JobItemStore
from serving.store.job_queue import ATTEMPTS, LOST, Claimed, JobQueue
from serving.store.jobs import JobStore
from tests.serving.store.job_workbench import add, finish


def claimed(queue: JobQueue, lease_s: float = 60) -> Claimed:
    item = queue.claim(lease_s)
    assert item is not None
    return item


def test_an_item_is_claimed_once_and_counts_once(jobs: JobStore, queue: JobQueue) -> None:
    job = add(jobs, items=2)
    one, two = claimed(queue), claimed(queue)
    assert (one.number, two.number) == (1, 2)
    assert queue.claim(60) is None

    assert finish(queue, one)
    assert not finish(queue, one), "a second time it is not ours"
    half = jobs.get("a", job.id)
    assert queue.left() == 1
    assert (half.state, half.succeeded, half.samples, half.output_tokens) == ("running", 1, 240, 2)
    assert finish(queue, two)
    whole = jobs.get("a", job.id)
    assert (whole.state, whole.succeeded, whole.characters_done) == ("succeeded", 2, whole.characters)
    assert whole.finished_at is not None
    assert queue.left() == 0


def test_an_item_whose_worker_was_killed_is_taken_up_again_and_its_late_result_is_nothing(
    jobs: JobStore, queue: JobQueue, database: Database
) -> None:
    job = add(jobs)
    late = claimed(queue, lease_s=0)
    second = claimed(queue)
    assert (second.number, second.lease == late.lease) == (late.number, False)

    assert queue.extend({late.lease, second.lease}, 60) == {second.lease}
    assert not finish(queue, late, "late.wav")
    assert not queue.fail(late, "late", final=True)
    assert not queue.release(late)
    assert finish(queue, second, "second.wav")
    (item,) = JobItemStore(database).all(job)
    assert item.audio is not None
    assert (item.audio.name, item.attempts) == ("second.wav", 0)
    assert jobs.get("a", job.id).succeeded == 1


def test_a_lease_that_is_extended_is_not_lost(jobs: JobStore, queue: JobQueue) -> None:
    add(jobs)
    held = claimed(queue, lease_s=0)
    assert queue.extend({held.lease}, 60) == {held.lease}
    assert queue.claim(60) is None
    assert finish(queue, held)


def test_an_item_fails_for_good_after_its_attempts_and_the_others_go_on(
    jobs: JobStore, queue: JobQueue, database: Database
) -> None:
    job = add(jobs, items=2)
    for _ in range(ATTEMPTS):
        item = claimed(queue)
        assert item.number == 1
        assert queue.fail(item, "the engine failed", final=False)
    assert finish(queue, claimed(queue))

    ended = jobs.get("a", job.id)
    assert (ended.state, ended.succeeded, ended.failed) == ("failed", 1, 1)
    first, second = JobItemStore(database).all(job)
    assert (first.state, first.attempts, first.error) == ("failed", ATTEMPTS, "the engine failed")
    assert second.state == "succeeded"


def test_an_item_that_cannot_be_spoken_ever_fails_at_once(jobs: JobStore, queue: JobQueue) -> None:
    job = add(jobs)
    assert queue.fail(claimed(queue), "there is no voice 'x'", final=True)
    assert jobs.get("a", job.id).state == "failed"


def test_a_failed_item_waits_before_it_is_tried_again(jobs: JobStore, queue: JobQueue) -> None:
    add(jobs)
    queue.fail(claimed(queue), "the engine failed", final=False, again_s=60)
    assert queue.claim(60) is None


def test_preemption_costs_no_attempt(jobs: JobStore, queue: JobQueue, database: Database) -> None:
    job = add(jobs)
    for _ in range(ATTEMPTS + 1):
        assert queue.release(claimed(queue), lost=True)
    for _ in range(LOST + 1):
        assert queue.release(claimed(queue))
    assert finish(queue, claimed(queue))
    (item,) = JobItemStore(database).all(job)
    assert (item.state, item.attempts) == ("succeeded", 0)


def test_a_text_that_kills_whoever_speaks_it_is_given_up(jobs: JobStore, queue: JobQueue, database: Database) -> None:
    job = add(jobs, items=2)
    for _ in range(LOST + 1):
        assert claimed(queue, lease_s=0).number == 1
    assert claimed(queue).number == 2
    first, _ = JobItemStore(database).all(job)
    assert first.state == "failed"
    assert first.error is not None
    assert "ended 21 times" in first.error


def test_tenants_take_turns_and_so_do_the_jobs_of_one(jobs: JobStore, queue: JobQueue) -> None:
    book, note = add(jobs, items=6, tenant="a"), add(jobs, items=6, tenant="a")
    assert claimed(queue).job_id == book.id
    other = add(jobs, items=6, tenant="b")

    turns = [claimed(queue).job_id for _ in range(6)]
    assert turns == [other.id, note.id, other.id, book.id, other.id, note.id]


def test_a_tenant_with_many_small_jobs_does_not_keep_others_waiting(jobs: JobStore, queue: JobQueue) -> None:
    book = add(jobs, items=4, tenant="b")
    for _ in range(4):
        add(jobs, tenant="a")
    turns = []
    for _ in range(8):
        item = claimed(queue)
        turns.append(item.job_id == book.id)
        finish(queue, item)
    assert sum(turns[:4]) == 2, turns


def test_many_workers_share_a_queue_and_no_item_is_spoken_twice(jobs: JobStore, queue: JobQueue) -> None:
    ids = [add(jobs, items=8).id, add(jobs, items=8, tenant="b").id]
    done: list[tuple[str, int]] = []
    deadline = time.monotonic() + 60

    def work() -> None:
        while len(done) < 16 and time.monotonic() < deadline:
            item = queue.claim(60)
            if item is not None:
                queue.extend({item.lease}, 60)
                if finish(queue, item):
                    done.append((item.job_id, item.number))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted((job, number) for job in ids for number in range(1, 9))
    assert [jobs.get(tenant, job).state for tenant, job in zip("ab", ids, strict=True)] == ["succeeded"] * 2
