import json
from datetime import UTC, datetime, timedelta

import alembic.command
import pytest
from alembic.config import Config
from sqlalchemy import text

from serving.store.database import MIGRATIONS, Database
from serving.store.job import Job, NewItem, NewWebhook
from serving.store.job_queue import JobQueue
from serving.store.jobs import JobStore
from serving.store.webhooks import Full, Message, Outcome, WebhookQueue, receiver_of
from tests.serving.store.job_workbench import OPTIONS, finish

HOOK = NewWebhook("https://example.com/hook?token=t0ken", "whsec_c2VjcmV0")


@pytest.fixture
def messages(database: Database) -> WebhookQueue:
    return WebhookQueue(database)


def add(jobs: JobStore, webhook: NewWebhook | None = HOOK, *, tenant: str = "a") -> Job:
    items = [NewItem("One."), NewItem("Two.")]
    return jobs.add(tenant=tenant, name=None, kind="list", options=OPTIONS, items=items, webhook=webhook)


def ended(jobs: JobStore, number: int, tenant: str, url: str = HOOK.url) -> list[str]:
    """So many jobs of ``tenant`` that have ended, each with a message."""
    webhook = NewWebhook(url, HOOK.secret)
    return [jobs.cancel(tenant, add(jobs, webhook, tenant=tenant).id).id for _ in range(number)]


def end(queue: JobQueue, *, well: bool = True) -> None:
    while (item := queue.claim(60)) is not None:
        assert finish(queue, item) if well else queue.fail(item, "no", final=True)


def claimed(messages: WebhookQueue, lease_s: float = 60) -> Message:
    message = messages.claim(lease_s)
    assert message is not None
    return message


def test_the_end_of_a_job_makes_one_message(jobs: JobStore, queue: JobQueue, messages: WebhookQueue) -> None:
    job = add(jobs)
    add(jobs, webhook=None)
    assert messages.claim(60) is None
    assert jobs.get("a", job.id).webhook is None
    end(queue)

    assert jobs.get("a", job.id).webhook == Outcome("pending", 0, None)
    message = claimed(messages)
    assert messages.claim(60) is None
    assert (message.job_id, message.url, message.secret) == (job.id, HOOK.url, HOOK.secret)
    said = json.loads(message.payload)
    assert (said["type"], said["data"]["id"]) == ("job.succeeded", job.id)
    assert said["data"]["items"] == {"total": 2, "succeeded": 2, "failed": 0}
    assert datetime.fromisoformat(said["timestamp"]) <= datetime.now(UTC)
    assert messages.delivered(message)
    assert [each.webhook for each in jobs.list("a", 10)] == [None, Outcome("delivered", 1, None)]
    assert messages.claim(60) is None


def test_failed_and_cancelled_jobs_are_told_too(jobs: JobStore, queue: JobQueue, messages: WebhookQueue) -> None:
    add(jobs)
    end(queue, well=False)
    jobs.cancel("a", add(jobs).id)
    told = [json.loads(claimed(messages).payload)["type"] for _ in range(2)]
    assert told == ["job.failed", "job.cancelled"]


def test_a_message_whose_worker_was_killed_is_taken_up_again_under_the_same_id(
    jobs: JobStore, queue: JobQueue, messages: WebhookQueue
) -> None:
    job = add(jobs)
    end(queue)
    late, second = claimed(messages, lease_s=0), claimed(messages)
    assert (second.id, second.payload) == (late.id, late.payload)
    assert not messages.delivered(late)
    assert not messages.failed(late, "late", again_s=None)
    assert messages.delivered(second)
    assert jobs.get("a", job.id).webhook == Outcome("delivered", 1, None)


def test_what_was_refused_waits_and_new_messages_go_first(
    jobs: JobStore, queue: JobQueue, messages: WebhookQueue
) -> None:
    first = add(jobs)
    end(queue)
    assert messages.failed(claimed(messages), "it answered 500", again_s=60)
    assert messages.claim(60) is None
    assert jobs.get("a", first.id).webhook == Outcome("pending", 1, "it answered 500")

    second = add(jobs)
    end(queue)
    third = add(jobs)
    end(queue)
    refused = claimed(messages)
    assert messages.failed(refused, "it answered 500", again_s=0)
    assert (refused.job_id, claimed(messages).job_id) == (second.id, third.id)
    again = claimed(messages)
    assert (again.job_id, again.attempts) == (second.id, 1)
    assert messages.failed(again, "it answered 410", again_s=None)
    assert jobs.get("a", second.id).webhook == Outcome("failed", 2, "it answered 410")
    assert messages.claim(60) is None


def test_a_message_that_is_given_back_costs_no_attempt(jobs: JobStore, queue: JobQueue, messages: WebhookQueue) -> None:
    job = add(jobs)
    end(queue)
    assert messages.release(claimed(messages))
    assert claimed(messages).attempts == 0
    assert jobs.get("a", job.id).webhook == Outcome("pending", 0, None)


def test_a_job_is_not_swept_before_its_owner_is_told(jobs: JobStore, queue: JobQueue, messages: WebhookQueue) -> None:
    add(jobs)
    end(queue)
    assert jobs.sweep(timedelta(0)) == 0
    messages.delivered(claimed(messages))
    assert jobs.sweep(timedelta(0)) == 1


def test_a_deleted_job_is_not_told_of(jobs: JobStore, queue: JobQueue, messages: WebhookQueue) -> None:
    job = add(jobs)
    end(queue)
    held = claimed(messages, lease_s=0)
    jobs.delete("a", job.id)
    assert messages.claim(60) is None
    assert not messages.delivered(held)


def test_secrets_and_urls_are_not_in_what_tracebacks_show(
    jobs: JobStore, queue: JobQueue, messages: WebhookQueue
) -> None:
    job = add(jobs)
    end(queue)
    shown = repr(claimed(messages)) + repr(HOOK)
    assert HOOK.secret not in shown
    assert jobs.webhook_secret(job) == HOOK.secret
    assert HOOK.secret not in repr(jobs.get("a", job.id))


def test_tenants_take_turns_however_many_messages_one_has(jobs: JobStore, messages: WebhookQueue) -> None:
    ended(jobs, 20, "a")
    refused = claimed(messages)
    assert messages.failed(refused, "it answered 500", again_s=0)
    ended(jobs, 2, "b")
    ended(jobs, 1, "c")
    assert [claimed(messages).tenant for _ in range(8)] == ["b", "c", "a", "b", "a", "a", "a", "a"]


def test_nobody_who_is_full_is_served(jobs: JobStore, messages: WebhookQueue) -> None:
    slow, other = "https://slow.example/hook", "https://other.example:8443/hook"
    ended(jobs, 1, "a", slow)
    late = ended(jobs, 1, "a", other)
    shared = ended(jobs, 1, "b", slow)
    everybody = Full(frozenset("ab"))
    assert messages.claim(60, everybody) is None
    assert messages.claim(60, Full(frozenset("b"), frozenset({receiver_of(slow), receiver_of(other)}))) is None
    found = messages.claim(60, Full(receivers=frozenset({receiver_of(slow)})))
    assert found is not None
    assert [found.job_id] == late
    found = messages.claim(60, Full(tenants=frozenset("a")))
    assert found is not None
    assert [found.job_id] == shared


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a?token=t0ken",
        "https://EXAMPLE.com:443/b",
        "https://example.com./",
        "http://example.com:443",
    ],
)
def test_a_receiver_has_one_name_however_it_is_written(url: str) -> None:
    assert receiver_of(url) == "example.com:443"


@pytest.mark.parametrize(
    ("url", "name"), [("http://example.com/", "example.com:80"), ("https://[2001:DB8::1]/", "2001:db8::1:443")]
)
def test_a_receiver_is_a_host_and_a_port(url: str, name: str) -> None:
    assert receiver_of(url) == name


def test_messages_from_before_there_were_turns_are_delivered_in_turns(
    database: Database, jobs: JobStore, messages: WebhookQueue
) -> None:
    ended(jobs, 2, "a")
    ended(jobs, 1, "b", "http://127.0.0.1:8080/hook")
    with database.engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        alembic.command.downgrade(config, "0009")
    database.migrate()
    found = [claimed(messages) for _ in range(3)]
    assert [(each.tenant, each.receiver) for each in found] == [
        ("a", "example.com:443"),
        ("b", "127.0.0.1:8080"),
        ("a", "example.com:443"),
    ]


def test_a_server_of_before_writes_messages_while_an_upgrade_runs(
    database: Database, jobs: JobStore, messages: WebhookQueue
) -> None:
    job = add(jobs)
    now = datetime.now(UTC)
    with database.session() as session:
        session.execute(
            text(
                "INSERT INTO webhook_messages (id, job_id, payload, state, attempts, created_at, due_at)"
                " VALUES ('msg_old', :job, '{}', 'pending', 0, :now, :now)"
            ),
            {"job": job.id, "now": now},
        )
        session.commit()
    assert claimed(messages).id == "msg_old"
