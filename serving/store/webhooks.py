"""Messages about the ends of jobs to URLs of their owners: kept with the end itself, until they are delivered."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, Select, and_, func, select, update
from sqlalchemy.orm import Session, aliased

from serving.store.database import Database
from serving.store.records import JobRow, WebhookMessageRow


@dataclass(frozen=True)
class Outcome:
    """What became of a message: ``state`` is pending, delivered or failed."""

    state: str
    attempts: int
    last_error: str | None


@dataclass(frozen=True)
class Message:
    """A message that is ours to deliver while ``lease`` holds; ``attempts`` of others failed before.

    ``receiver`` is the host and port of ``url``.
    """

    id: str
    job_id: str
    tenant: str
    receiver: str
    lease: str
    url: str
    secret: str
    payload: str
    attempts: int

    def __repr__(self) -> str:
        return f"Message({self.id}, of {self.job_id})"  # neither the secret nor a URL with a token in a traceback


@dataclass(frozen=True)
class Full:
    """The tenants and the receivers that have as many messages in work as they may."""

    tenants: frozenset[str] = frozenset()
    receivers: frozenset[str] = frozenset()


def announce(session: Session, job: JobRow) -> None:
    """Record in the transaction that ends ``job`` that its owner is to be told, if a webhook was given."""
    if job.webhook_url is None:
        return
    assert job.finished_at is not None
    event = f"job.{job.state}"
    counts = {"total": job.items, "succeeded": job.succeeded, "failed": job.failed}
    payload = {
        "type": event,
        "timestamp": job.finished_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": {
            "id": job.id,
            "object": "job",
            "name": job.name,
            "kind": job.kind,
            "state": job.state,
            "items": counts,
        },
    }
    session.add(
        WebhookMessageRow(
            id=f"msg_{secrets.token_hex(12)}",
            job_id=job.id,
            tenant=job.tenant,
            receiver=receiver_of(job.webhook_url),
            payload=json.dumps(payload, ensure_ascii=False, separators=(",", ":")),
            state="pending",
            attempts=0,
            created_at=job.finished_at,
            due_at=job.finished_at,
        )
    )


def receiver_of(url: str) -> str:
    """The host and port that ``url`` leads to: however it is written, one receiver has one name.

    What is no URL is a receiver by itself: that must not keep its job from ending.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return url
    return f"{host.rstrip('.')}:{port}"


def latest(session: Session, jobs: Collection[str]) -> dict[str, Outcome]:
    """What became of the newest message about each of ``jobs``, where there is one."""
    rows = session.scalars(
        select(WebhookMessageRow)
        .where(WebhookMessageRow.job_id.in_(jobs))
        .order_by(WebhookMessageRow.created_at, WebhookMessageRow.id)
    )
    return {row.job_id: Outcome(row.state, row.attempts, row.error) for row in rows}


class WebhookQueue:
    """The messages of all jobs that are to be delivered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, lease_s: float, full: Full = Full()) -> Message | None:
        """The next message, ours for ``lease_s`` seconds; None if none is due but those of who is ``full``.

        Tenants take turns. Of one, new messages go before those that were refused. A message whose lease has ended is
        taken up again.
        """
        turns = self._turns(full)  # a look that writes nothing
        if not turns:
            return None
        with self._database.session() as session:
            for tenant in turns:
                if (found := session.execute(_next_of(tenant, full)).first()) is not None:
                    row, job = found
                    return _claimed(row, job, lease_s)
        return None

    def delivered(self, message: Message) -> bool:
        """It has arrived; False if the lease has gone."""
        return self._record(message, state="delivered", error=None)

    def failed(self, message: Message, error: str, *, again_s: float | None) -> bool:
        """An attempt failed; the next is in ``again_s`` seconds, None for never. False if the lease has gone."""
        if again_s is None:
            return self._record(message, state="failed", error=error)
        return self._record(message, error=error, due_at=datetime.now(UTC) + timedelta(seconds=again_s))

    def release(self, message: Message) -> bool:
        """Give it back without an attempt."""
        return self._record(message, attempts=message.attempts, due_at=datetime.now(UTC))

    def _turns(self, full: Full) -> list[str]:
        """The tenants that have a message due, the one first that was served the longest ago."""
        due = select(WebhookMessageRow.tenant).where(_due(full)).distinct().subquery()
        other = aliased(WebhookMessageRow)
        served = select(func.max(other.claimed_at)).where(other.tenant == due.c.tenant).scalar_subquery()
        with self._database.reading() as session:
            return list(session.scalars(select(due.c.tenant).order_by(served.asc().nulls_first(), due.c.tenant)))

    def _record(self, message: Message, **values: object) -> bool:
        held = and_(
            WebhookMessageRow.id == message.id,
            WebhookMessageRow.lease == message.lease,
            WebhookMessageRow.state == "pending",
        )
        values = {"attempts": message.attempts + 1, "lease": None, **values}
        query = update(WebhookMessageRow).where(held).values(values).returning(WebhookMessageRow.id)
        with self._database.session() as session:
            return session.scalars(query).one_or_none() is not None


def _due(full: Full) -> ColumnElement[bool]:
    found = and_(WebhookMessageRow.state == "pending", WebhookMessageRow.due_at <= datetime.now(UTC))
    if full.tenants:
        found = and_(found, WebhookMessageRow.tenant.not_in(full.tenants))
    if full.receivers:
        found = and_(found, WebhookMessageRow.receiver.not_in(full.receivers))
    return found


def _next_of(tenant: str, full: Full) -> Select[WebhookMessageRow, JobRow]:
    return (
        select(WebhookMessageRow, JobRow)
        .join(JobRow, JobRow.id == WebhookMessageRow.job_id)
        .where(WebhookMessageRow.tenant == tenant, _due(full))
        .order_by(WebhookMessageRow.attempts, WebhookMessageRow.due_at)
        .limit(1)
        .with_for_update(of=WebhookMessageRow, skip_locked=True)
    )


def _claimed(row: WebhookMessageRow, job: JobRow, lease_s: float) -> Message:
    assert job.webhook_url is not None
    assert job.webhook_secret is not None
    row.lease, row.claimed_at = secrets.token_hex(8), datetime.now(UTC)
    row.due_at = row.claimed_at + timedelta(seconds=lease_s)
    return Message(
        id=row.id,
        job_id=job.id,
        tenant=row.tenant,
        receiver=row.receiver,
        lease=row.lease,
        url=job.webhook_url,
        secret=job.webhook_secret,
        payload=row.payload,
        attempts=row.attempts,
    )
