"""Who speaks which item of which job: leases that end, turns, and results that count once.

Every change locks the job's record first, so that two of them neither wait for each other nor count from one number.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from serving.store.database import Database
from serving.store.job import ACTIVE, AUDIO, JobOptions
from serving.store.records import JobItemRow, JobRow, Normalization
from serving.store.volume import Volume
from serving.store.webhooks import announce

ATTEMPTS = 3
"""How often an item may fail in the engine."""

LOST = 20
"""How often work on an item may end without a word, by a process that was preempted or killed: a text that kills its
engine must not do so for ever."""


@dataclass(frozen=True)
class Claimed:
    """An item that is ours to speak while ``lease`` holds."""

    job_id: str
    number: int
    lease: str
    tenant: str
    kind: str
    options: JobOptions
    folder: Path
    text: str
    voice: str | None
    language: str | None
    text_normalization: Normalization | None = None


@dataclass(frozen=True)
class ItemResult:
    """What came of an item: its file's name, its length and that of each sentence in samples, and its usage."""

    audio: str
    samples: int
    sentences: tuple[tuple[str, int], ...]
    input_tokens: int = 0
    output_tokens: int = 0


class JobQueue:
    """The items of all jobs that wait to be spoken."""

    def __init__(self, volume: Volume, database: Database) -> None:
        self._volume = volume
        self._database = database

    def claim(self, lease_s: float) -> Claimed | None:
        """The next item, ours for ``lease_s`` seconds; None if there is none now.

        Tenants take turns, and so do the jobs of one. An item whose lease has ended is taken up again.
        """
        if not self.left():  # a look that writes nothing, for who has nothing to do looks often
            return None
        now = datetime.now(UTC)
        with self._database.session() as session:
            while (job := session.scalars(_next_job(now)).first()) is not None:
                waiting = select(JobItemRow).where(JobItemRow.job_id == job.id, _claimable(now))
                item = session.scalars(waiting.order_by(JobItemRow.number).limit(1)).first()
                if item is None:  # it was taken while we waited for the job's record
                    return None
                if item.lease is not None:
                    item.lost += 1
                if item.lost > LOST:
                    _end(session, job, item, f"its engine or worker ended {item.lost} times while it was spoken")
                    session.flush()
                    continue
                return self._claimed(job, item, now, lease_s)
        return None

    def left(self) -> int:
        """How many items of all jobs wait or are being spoken."""
        query = select(func.sum(JobRow.items - JobRow.succeeded - JobRow.failed)).where(JobRow.state.in_(ACTIVE))
        with self._database.reading() as session:
            return int(session.scalar(query) or 0)

    def extend(self, leases: Collection[str], lease_s: float) -> set[str]:
        """Hold ``leases`` for ``lease_s`` seconds more; those that still hold."""
        return {lease for lease in leases if self._extend(lease, lease_s)}

    def _extend(self, lease: str, lease_s: float) -> bool:
        until = datetime.now(UTC) + timedelta(seconds=lease_s)
        held = and_(JobItemRow.lease == lease, JobItemRow.state == "running")
        query = update(JobItemRow).where(held).values(lease_until=until).returning(JobItemRow.number)
        with self._database.session() as session:  # one record a transaction: it locks no job
            return session.scalars(query).one_or_none() is not None

    def complete(self, claimed: Claimed, result: ItemResult) -> bool:
        """Record what came of it; False if the lease has gone to another, or the job was cancelled."""
        with self._database.session() as session:
            held = _held(session, claimed)
            if held is None:
                return False
            job, item = held
            item.state, item.lease, item.lease_until, item.error = "succeeded", None, None, None
            item.audio, item.samples = result.audio, result.samples
            item.sentences = [[text, samples] for text, samples in result.sentences]
            item.input_tokens, item.output_tokens = result.input_tokens, result.output_tokens
            job.succeeded += 1
            job.samples += result.samples
            job.input_tokens += result.input_tokens
            job.output_tokens += result.output_tokens
            _count(session, job, item)
            return True

    def fail(self, claimed: Claimed, error: str, *, final: bool, again_s: float = 0.0) -> bool:
        """The engine failed, or ``final``: cannot speak it ever. Else it is tried again in ``again_s`` seconds, twice.

        False if the lease has gone.
        """
        with self._database.session() as session:
            held = _held(session, claimed)
            if held is None:
                return False
            job, item = held
            item.attempts += 1
            if final or item.attempts >= ATTEMPTS:
                _end(session, job, item, error)
            else:
                item.error = error
                _put_back(item, again_s)
            return True

    def release(self, claimed: Claimed, *, again_s: float = 0.0, lost: bool = False) -> bool:
        """Give the item back without a result; ``lost`` where what spoke it went away. False if the lease has gone."""
        with self._database.session() as session:
            held = _held(session, claimed)
            if held is None:
                return False
            held[1].lost += lost
            _put_back(held[1], again_s)
            return True

    def _claimed(self, job: JobRow, item: JobItemRow, now: datetime, lease_s: float) -> Claimed:
        item.state, item.lease = "running", secrets.token_hex(8)
        item.lease_until = now + timedelta(seconds=lease_s)
        job.state, job.claimed_at, job.started_at = "running", now, job.started_at or now
        return Claimed(
            job_id=job.id,
            number=item.number,
            lease=item.lease,
            tenant=job.tenant,
            kind=job.kind,
            options=JobOptions.model_validate(job.options),
            folder=self._volume.job(job.tenant, job.id) / AUDIO,
            text=item.text,
            voice=item.voice,
            language=item.language,
            text_normalization=item.text_normalization,
        )


def _claimable(now: datetime) -> ColumnElement[bool]:
    free = or_(JobItemRow.lease_until.is_(None), JobItemRow.lease_until < now)
    return and_(JobItemRow.state.in_(ACTIVE), free)


def _next_job(now: datetime) -> Select[JobRow]:
    """The job whose turn it is: of the tenant that was served the longest ago, its own that was."""
    other = aliased(JobRow)
    served = (
        select(func.max(other.claimed_at))
        .where(other.tenant == JobRow.tenant, other.started_at.is_not(None))
        .scalar_subquery()
    )
    has_work = select(JobItemRow.number).where(JobItemRow.job_id == JobRow.id, _claimable(now)).exists()
    return (
        select(JobRow)
        .where(JobRow.state.in_(ACTIVE), has_work)
        .order_by(served.asc().nulls_first(), JobRow.claimed_at, JobRow.id)
        .limit(1)
        .with_for_update(of=JobRow, skip_locked=True)
    )


def _held(session: Session, claimed: Claimed) -> tuple[JobRow, JobItemRow] | None:
    """Both records, locked, if the lease still holds: nobody else has taken the item up, and it has not ended."""
    job = session.scalars(select(JobRow).where(JobRow.id == claimed.job_id).with_for_update()).one_or_none()
    same = and_(
        JobItemRow.job_id == claimed.job_id,
        JobItemRow.number == claimed.number,
        JobItemRow.lease == claimed.lease,
        JobItemRow.state == "running",
    )
    item = session.scalars(select(JobItemRow).where(same).with_for_update()).one_or_none()
    return None if job is None or item is None else (job, item)


def _put_back(item: JobItemRow, again_s: float) -> None:
    item.state, item.lease = "queued", None
    item.lease_until = datetime.now(UTC) + timedelta(seconds=again_s) if again_s else None


def _end(session: Session, job: JobRow, item: JobItemRow, error: str) -> None:
    """Give ``item`` up."""
    item.state, item.lease, item.lease_until, item.error = "failed", None, None, error
    job.failed += 1
    _count(session, job, item)


def _count(session: Session, job: JobRow, item: JobItemRow) -> None:
    job.characters_done += len(item.text)
    if job.succeeded + job.failed == job.items:
        job.state = "failed" if job.failed else "succeeded"
        job.finished_at = datetime.now(UTC)
        announce(session, job)
