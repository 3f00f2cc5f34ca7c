from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from serving.jobs import pulling, telling
from serving.jobs.telling import AT_ONCE, ATTEMPTS, WebhookLoop, wait_s
from serving.metrics import LocalMetrics
from serving.store.job import Job, NewItem, NewWebhook
from serving.store.jobs import JobStore
from serving.store.voices import VoiceStore
from serving.store.webhooks import Outcome, WebhookQueue
from tests.serving.jobs.receiver import Receiver, receiving
from tests.serving.jobs.workbench import until
from tests.serving.store.job_workbench import OPTIONS

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((pulling, "IDLE_S"), (pulling, "FAULT_S"), (telling, "FIRST_S")):
        monkeypatch.setattr(module, name, 0.02)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def jobs(store: VoiceStore) -> JobStore:
    return JobStore(store.volume, store.database)


def cancelled(jobs: JobStore, url: str, tenant: str = "a") -> Job:
    """A job that has ended, with something to tell."""
    webhook = NewWebhook(url, SECRET)
    job = jobs.add(tenant=tenant, name=None, kind="list", options=OPTIONS, items=[NewItem("One.")], webhook=webhook)
    return jobs.cancel(tenant, job.id)


@asynccontextmanager
async def telling_of(store: VoiceStore, metrics: LocalMetrics | None = None) -> AsyncIterator[WebhookLoop]:
    loop = WebhookLoop(WebhookQueue(store.database), metrics or LocalMetrics(), private=True)
    loop.start()
    try:
        yield loop
    finally:
        assert loop.failure is None
        await loop.close()


async def test_a_receiver_that_fails_at_first_is_told_later_under_the_same_id(
    store: VoiceStore, jobs: JobStore, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 500
    job, metrics = cancelled(jobs, receiver.url), LocalMetrics()
    async with telling_of(store, metrics):
        await until(lambda: len(receiver.got) >= 2)
        receiver.status = 204
        await until(lambda: _ended(jobs, job))
    outcome = jobs.get("a", job.id).webhook
    assert outcome == Outcome("delivered", len(receiver.got), None)
    assert len(set(receiver.ids())) == 1
    page = (await metrics.render()).decode()
    assert 'kubevoice_webhooks_total{outcome="delivered"} 1.0' in page
    assert 'kubevoice_webhooks_total{outcome="again"}' in page
    assert "it answered 500" in caplog.text
    assert "t0ken" not in caplog.text
    assert SECRET not in caplog.text


def _ended(jobs: JobStore, job: Job) -> bool:
    outcome = jobs.get(job.tenant, job.id).webhook
    return outcome is not None and outcome.state != "pending"


async def test_one_that_wants_no_more_is_left_alone(store: VoiceStore, jobs: JobStore, receiver: Receiver) -> None:
    receiver.status = 410
    job = cancelled(jobs, receiver.url)
    async with telling_of(store):
        await until(lambda: _ended(jobs, job))
    assert jobs.get("a", job.id).webhook == Outcome("failed", 1, "it answered 410")


async def test_one_that_hangs_keeps_nobody_else_waiting(store: VoiceStore, jobs: JobStore, receiver: Receiver) -> None:
    receiver.hold.clear()
    slow = cancelled(jobs, receiver.url)
    with receiving() as quick:
        job = cancelled(jobs, quick.url)
        async with telling_of(store):
            await until(lambda: _ended(jobs, job))
            assert not _ended(jobs, slow)
        assert jobs.get("a", slow.id).webhook == Outcome("pending", 0, None), "given back at once"


async def test_a_tenant_whose_receivers_hang_keeps_no_other_waiting_however_many_messages_it_has(
    store: VoiceStore, jobs: JobStore, receiver: Receiver
) -> None:
    receiver.hold.clear()
    for _ in range(3 * AT_ONCE):
        cancelled(jobs, receiver.url)
    with receiving() as quick:
        async with telling_of(store):
            await until(lambda: len(receiver.got) == AT_ONCE // 2)
            told = [cancelled(jobs, quick.url, "b") for _ in range(5)]
            await until(lambda: all(_ended(jobs, job) for job in told))
            assert len(receiver.got) == AT_ONCE // 2


async def test_tenants_that_share_a_receiver_that_hangs_share_its_places_too(
    store: VoiceStore, jobs: JobStore, receiver: Receiver
) -> None:
    receiver.hold.clear()
    for tenant in "abcd":
        for _ in range(AT_ONCE // 2):
            cancelled(jobs, receiver.url, tenant)
    with receiving() as quick:
        async with telling_of(store):
            await until(lambda: len(receiver.got) == AT_ONCE // 2)
            job = cancelled(jobs, quick.url, "a")
            await until(lambda: _ended(jobs, job))
            assert len(receiver.got) == AT_ONCE // 2


async def test_a_place_that_is_free_again_is_taken_at_once(
    store: VoiceStore, jobs: JobStore, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "IDLE_S", 600.0)
    told = [cancelled(jobs, receiver.url) for _ in range(2 * AT_ONCE)]
    async with telling_of(store):
        await until(lambda: all(_ended(jobs, job) for job in told))
    assert len(receiver.ids()) == len(set(receiver.ids())) == 2 * AT_ONCE


async def test_loops_share_the_messages(store: VoiceStore, jobs: JobStore, receiver: Receiver) -> None:
    told = [cancelled(jobs, receiver.url) for _ in range(12)]
    async with telling_of(store), telling_of(store):
        await until(lambda: all(_ended(jobs, job) for job in told))
    assert len(receiver.ids()) == len(set(receiver.ids())) == 12


def test_waits_grow_to_about_a_day_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "FIRST_S", 5.0)
    waits = [wait_s(attempts) for attempts in range(1, ATTEMPTS)]
    assert wait_s(ATTEMPTS) is None
    assert all(wait is not None for wait in waits)
    assert 4 <= (waits[0] or 0) <= 6
    assert 16 * 3600 < sum(wait or 0 for wait in waits) < 30 * 3600
