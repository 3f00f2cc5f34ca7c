"""Jobs: many texts to speak, kept until they are spoken and for some time after."""

from __future__ import annotations

import builtins
import hashlib
import logging
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from serving.errors import Conflict, NotFound
from serving.files import fsync_directory, refusing
from serving.store.database import Database
from serving.store.job import ACTIVE, AUDIO, Job, JobKind, JobOptions, NewItem, NewWebhook
from serving.store.profile import is_storable
from serving.store.records import JobItemRow, JobRow, WebhookMessageRow
from serving.store.volume import Volume, last_touched, safe_name
from serving.store.webhooks import Outcome, announce, latest

ORPHAN_S = 3600.0
"""Age of a directory up to which it needs no record: its job is being added, or was when the process was killed."""

log = logging.getLogger(__name__)


class JobStore:
    """The jobs of one volume and its database."""

    def __init__(self, volume: Volume, database: Database) -> None:
        self.volume = volume
        self._database = database

    def known(self, tenant: str, key: str, digest: str) -> Job | None:
        """The job that came with Idempotency-Key ``key`` before; raises Conflict if ``digest`` was another then."""
        query = select(JobRow).where(JobRow.tenant == safe_name(tenant, "tenant"), JobRow.request_key == key)
        with self._database.reading() as session:
            row = session.scalars(query).one_or_none()
        if row is not None and row.request_digest != digest:
            raise Conflict(
                f"this Idempotency-Key was sent with another body, which made job {row.id}; take a new key",
                "Idempotency-Key",
                "idempotency_conflict",
            )
        return None if row is None else self._job(row)

    def add(
        self,
        *,
        tenant: str,
        name: str | None,
        kind: JobKind,
        options: JobOptions,
        items: Sequence[NewItem],
        key: str | None = None,
        digest: str = "",
        webhook: NewWebhook | None = None,
        job_id: str | None = None,
    ) -> Job:
        """Record a job, by ``job_id`` if that is given; with a ``key`` that was used before, the one of that time.

        Raises Conflict as ``known``.
        """
        assert items, "a job has items"
        if key is not None and (known := self.known(tenant, key, digest)) is not None:
            return known
        job_id, now = job_id or new_job_id(), datetime.now(UTC)
        row = JobRow(
            id=job_id, tenant=tenant, name=name or job_id, kind=kind, state="queued", options=options.model_dump(),
            request_key=key, request_digest=digest, items=len(items), succeeded=0, failed=0,
            characters=sum(len(item.text) for item in items), characters_done=0, samples=0, input_tokens=0,
            output_tokens=0, created_at=now, claimed_at=now, started_at=None, finished_at=None,
            webhook_url=webhook and webhook.url, webhook_secret=webhook and webhook.secret,
        )  # fmt: skip
        job = self._job(row)
        _make_directory(job.directory / AUDIO)
        try:
            with self._database.session() as session:
                session.add(row)
                session.flush()
                session.execute(insert(JobItemRow), [_values(job_id, *each) for each in enumerate(items, 1)])
        except BaseException as error:
            recorded = self._database.has(JobRow, job_id)
            if recorded and isinstance(error, Exception):
                return job  # only the answer was lost
            if recorded is False:
                self.volume.discard(job.directory)
            if isinstance(error, IntegrityError) and key is not None:  # the same request came twice at once
                known = self.known(tenant, key, digest)
                if known is not None:
                    return known
            raise
        return job

    def get(self, tenant: str, key: str) -> Job:
        """The job with id ``key``; raises NotFound."""
        with self._database.reading() as session:
            row = session.scalars(select(JobRow).where(_matches(tenant, key))).one_or_none()
            if row is None:
                raise _not_found(key)
            return self._job(row, latest(session, [row.id]).get(row.id))

    def webhook_secret(self, job: Job) -> str | None:
        """What messages about ``job`` are signed with; None if there are none, or it is gone."""
        with self._database.reading() as session:
            return session.scalar(select(JobRow.webhook_secret).where(JobRow.id == job.id))

    def list(self, tenant: str, limit: int, after: str | None = None) -> builtins.list[Job]:
        """At most ``limit`` jobs, newest first, those behind the id ``after``; raises NotFound for that."""
        query = select(JobRow).where(JobRow.tenant == safe_name(tenant, "tenant"))
        if after is not None:
            try:
                last = self.get(tenant, after)
            except NotFound:
                raise NotFound(f"there is no job {after[:80]!r}; begin without after", "after") from None
            same = and_(JobRow.created_at == last.created_at, JobRow.id < last.id)
            query = query.where(or_(JobRow.created_at < last.created_at, same))
        with self._database.reading() as session:
            rows = session.scalars(query.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit)).all()
            told = latest(session, [row.id for row in rows])
        return [self._job(row, told.get(row.id)) for row in rows]

    def cancel(self, tenant: str, key: str) -> Job:
        """Begin no more items; what is being spoken is not kept. A job that has ended stays as it is."""
        with self._database.session() as session:
            row = session.scalars(select(JobRow).where(_matches(tenant, key)).with_for_update()).one_or_none()
            if row is None:
                raise _not_found(key)
            if row.state in ACTIVE:
                row.state, row.finished_at = "cancelled", datetime.now(UTC)
                left = and_(JobItemRow.job_id == row.id, JobItemRow.state.in_(ACTIVE))
                session.execute(update(JobItemRow).where(left).values(state="cancelled", lease=None, lease_until=None))
                announce(session, row)
            return self._job(row)

    def retry(self, tenant: str, key: str) -> Job:
        """Queue the items again that failed, as new ones. Raises Conflict if none did, or the job was cancelled."""
        with self._database.session() as session:
            row = session.scalars(select(JobRow).where(_matches(tenant, key)).with_for_update()).one_or_none()
            if row is None:
                raise _not_found(key)
            if row.state == "cancelled" or not row.failed:
                why = "was cancelled; send the texts again" if row.state == "cancelled" else "has no item that failed"
                raise Conflict(f"job {row.id} {why}", "job")
            failed = and_(JobItemRow.job_id == row.id, JobItemRow.state == "failed")
            again = session.scalar(select(func.sum(func.length(JobItemRow.text))).where(failed))
            fresh = {"state": "queued", "attempts": 0, "lost": 0, "error": None, "lease": None, "lease_until": None}
            session.execute(update(JobItemRow).where(failed).values(fresh))
            row.characters_done -= int(again or 0)
            row.failed = 0
            if row.state not in ACTIVE:
                row.state, row.finished_at = "queued", None
            return self._job(row)

    def delete(self, tenant: str, key: str) -> str:
        """Forget a job that has ended, with its audio; its id. Raises NotFound, and Conflict if it has not ended."""
        job = self.get(tenant, key)
        while not self._forget(job.id):
            job = self.get(tenant, key)  # another was faster, or it was queued again since it was looked at
            if job.active:
                raise Conflict(f"job {job.id} is {job.state}; cancel it first", "job")
        self.volume.discard(job.directory)
        return job.id

    def _forget(self, job_id: str) -> bool:
        ended = and_(JobRow.id == job_id, JobRow.state.not_in(ACTIVE))
        with self._database.session() as session:
            return session.scalars(delete(JobRow).where(ended).returning(JobRow.id)).one_or_none() is not None

    def sweep(self, keep: timedelta) -> int:
        """Delete the jobs that ended longer than ``keep`` ago, and directories without a record; how many jobs.

        One whose owner is still to be told of its end waits for that. Directories have the time of jobs: a database
        that was lost, or is another one by mistake, may come back.
        """
        message = and_(WebhookMessageRow.job_id == JobRow.id, WebhookMessageRow.state == "pending")
        query = select(JobRow).where(
            JobRow.state.not_in(ACTIVE),
            JobRow.finished_at < datetime.now(UTC) - keep,
            ~select(WebhookMessageRow.id).where(message).exists(),
        )
        with self._database.reading() as session:
            old = session.scalars(query).all()
        swept = 0
        for row in old:
            with suppress(NotFound, Conflict):  # another sweep was faster, or it is tried again
                self.delete(row.tenant, row.id)
                swept += 1
        self._sweep_orphans(max(ORPHAN_S, keep.total_seconds()))
        return swept

    def _sweep_orphans(self, keep_s: float) -> None:
        """Discard what no record has and nobody has touched for ``keep_s`` seconds."""
        root = self.volume.root / "jobs"
        with refusing(root):
            found = list(root.glob("*/job-*"))  # before the records are read: a job has its directory first
        with self._database.reading() as session:
            known = set(session.scalars(select(JobRow.id)))
        if not known:
            return  # a database that knows no job at all says nothing about those on the volume
        for path in found:
            if path.name not in known and _is_older(path, keep_s):
                log.warning("job %s has files and no record; they are deleted", path.name)
                self.volume.discard(path)

    def _job(self, row: JobRow, webhook: Outcome | None = None) -> Job:
        names = Job.__dataclass_fields__.keys() - {"options", "directory", "webhook"}
        return Job(
            **{name: getattr(row, name) for name in names},
            options=JobOptions.model_validate(row.options),
            directory=self.volume.job(row.tenant, row.id),
            webhook=webhook,
        )


def new_job_id() -> str:
    """An id that no job has."""
    return f"job-{secrets.token_hex(12)}"


def digest_of(*parts: bytes) -> str:
    """The SHA-256 of a request's parts, in hex."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()


def _values(job_id: str, number: int, item: NewItem) -> dict[str, object]:
    return {
        "job_id": job_id, "number": number, "text": item.text, "voice": item.voice, "language": item.language,
        "text_normalization": item.text_normalization,
        "state": "queued", "attempts": 0, "lost": 0, "samples": 0, "sentences": [], "input_tokens": 0,
        "output_tokens": 0,
    }  # fmt: skip


def _make_directory(path: Path) -> None:
    with refusing(path):
        path.mkdir(parents=True)
        for each in (path.parent, path.parent.parent, path.parent.parent.parent):
            fsync_directory(each)


def _is_older(path: Path, age_s: float) -> bool:
    """Whether nothing below ``path`` was touched for ``age_s`` seconds; False where that cannot be seen."""
    try:
        return last_touched(path) < time.time() - age_s
    except OSError as error:
        log.warning("cannot look through %s: %s", path, error)
        return False


def _matches(tenant: str, key: str) -> ColumnElement[bool]:
    if not is_storable(key):
        raise _not_found(key)
    return and_(JobRow.tenant == safe_name(tenant, "tenant"), JobRow.id == key)


def _not_found(key: str) -> NotFound:
    return NotFound(f"there is no job {key[:80]!r}; list them", "job", "not_found")
