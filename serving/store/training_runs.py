"""Training runs: a record each, and a folder on the volume that the trainer works in."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import and_, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from serving.errors import Conflict, InvalidRequest
from serving.store.launched import Launched, LaunchedStore, how_far, record_of
from serving.store.record_file import RecordFile, write_record
from serving.store.records import DatasetRow, TrainingRunRow
from serving.store.training_files import RUN_FILE, RunSpec, TrainingSettings, read_run, read_status, write_run

RUN_ID = re.compile(r"run-[0-9a-f]{24}")


@dataclass(frozen=True)
class TrainingRun(Launched):
    """``dataset_id``, ``model``, ``revision`` and ``settings`` are what it trains on, from and how."""

    dataset_id: str
    model: str
    revision: str | None
    settings: Mapping[str, Any]


class TrainingRunStore(LaunchedStore[TrainingRunRow, TrainingRun]):
    """The runs of one volume and its database."""

    row = TrainingRunRow
    what = "training run"
    top = "training"
    facts_file = RUN_FILE

    def add(
        self,
        *,
        tenant: str,
        name: str | None,
        dataset: Callable[[], str],
        model: str,
        revision: str | None,
        settings: TrainingSettings,
        key: str | None,
        body: bytes,
        check: Callable[[], None] = lambda: None,
    ) -> TrainingRun:
        """Record a run to be started; with a ``key`` that was used before, the one of that time.

        Only for a new one ``check`` and ``dataset`` are called, which gives the dataset's id: a request that is
        repeated has its answer although the dataset is gone by now.

        Raises Conflict if ``body`` is not the one that came with ``key`` then, or the dataset is gone or being
        prepared.
        """
        digest = hashlib.sha256(body).hexdigest()
        if key is not None and (known := self._with_key(tenant, key)) is not None:
            return self._same(known, digest)
        check()
        dataset_id = dataset()
        run_id, now = f"run-{secrets.token_hex(12)}", datetime.now(UTC)
        row = TrainingRunRow(
            id=run_id, tenant=tenant, name=name or run_id, dataset_id=dataset_id, model=model, revision=revision,
            settings=settings.model_dump(mode="json"), request_key=key, request_digest=digest, created_at=now,
            attempted_at=now, attempt=1, phase="starting", state="queued", reason="",
        )  # fmt: skip
        try:
            with self._database.session() as session:
                _hold(session, dataset_id)
                session.add(row)
        except IntegrityError:  # the same request came twice at once
            known = self._with_key(tenant, key) if key is not None else None
            if known is None:
                raise
            return self._same(known, digest)
        return self._item(row)

    def lay(self, run: TrainingRun) -> None:
        """Make the run's folder with ``run.json``, where it is not there, and keep in it which attempt this is.

        Raises StorageError.
        """
        if not run.directory.is_dir():
            self._make_folder(run)
        with self._database.reading() as session:
            row = session.get(TrainingRunRow, run.id)
        if row is not None:
            request = {"request_key": row.request_key, "request_digest": row.request_digest}
            write_record(run.directory, record_of(run, **request))

    def _make_folder(self, run: TrainingRun) -> None:
        spec = RunSpec(
            tenant=run.tenant,
            name=run.id,
            dataset=run.dataset_id,
            model=run.model,
            revision=run.revision,
            settings=TrainingSettings.model_validate(run.settings),
        )
        with suppress(Conflict), self.volume.publish(run.directory) as staging:  # another process was faster
            write_run(staging, spec)

    def resume(self, run: TrainingRun) -> bool:
        """Begin another attempt; False if another process did. Raises Conflict if the dataset is gone or changing."""
        same = and_(
            TrainingRunRow.id == run.id, TrainingRunRow.attempt == run.attempt, TrainingRunRow.phase == "finished"
        )
        values = {"phase": "starting", "state": "queued", "reason": "", "attempt": run.attempt + 1}
        query = update(TrainingRunRow).where(same).values(**values, attempted_at=datetime.now(UTC))
        with self._database.session() as session:
            _hold(session, run.dataset_id)
            return session.scalars(query.returning(TrainingRunRow.id)).one_or_none() is not None

    def drop(self, run: TrainingRun) -> bool:
        """Take back a run that was never started; False if it was. Its key may be used again."""
        return self._forget(run, "starting")

    def delete(self, run: TrainingRun) -> None:
        """Forget a run that has finished, with its files. Raises Conflict if it has not."""
        if not self._forget(run, "finished"):
            raise Conflict(f"run {run.id} is at work; cancel it first", "run")

    def _forget(self, run: TrainingRun, phase: str) -> bool:
        same = and_(TrainingRunRow.id == run.id, TrainingRunRow.phase == phase, TrainingRunRow.attempt == run.attempt)
        query = delete(TrainingRunRow).where(same).returning(TrainingRunRow.id)
        with self._database.session() as session:
            gone = session.scalars(query).one_or_none() is not None
        if gone:
            self.volume.discard(run.directory)
        return gone

    def _with_key(self, tenant: str, key: str) -> TrainingRunRow | None:
        query = select(TrainingRunRow).where(TrainingRunRow.tenant == tenant, TrainingRunRow.request_key == key)
        with self._database.reading() as session:
            return session.scalars(query).one_or_none()

    def _same(self, row: TrainingRunRow, digest: str) -> TrainingRun:
        if row.request_digest != digest:
            raise Conflict(
                f"this Idempotency-Key was sent with another body, which made run {row.id}; take a new key",
                "Idempotency-Key",
                "idempotency_conflict",
            )
        return self._item(row)

    def _item(self, row: TrainingRunRow) -> TrainingRun:
        return TrainingRun(
            **self._shared(row),
            dataset_id=row.dataset_id,
            model=row.model,
            revision=row.revision,
            settings=row.settings,
        )

    def _made_again(self, directory: Path, record: RecordFile) -> TrainingRunRow:
        if not RUN_ID.fullmatch(directory.name):
            raise InvalidRequest("it was made by hand: its name is not an id; promote it with kubevoice models promote")
        spec, status = read_run(directory), read_status(directory)
        done = status is not None and status.state == "succeeded" and status.updated_at >= record.attempted_at
        return TrainingRunRow(
            **self._columns(spec.tenant, spec.name, record), **how_far(done), dataset_id=spec.dataset, model=spec.model,
            revision=spec.revision, settings=spec.settings.model_dump(mode="json"), request_key=record.request_key,
            request_digest=record.request_digest,
        )  # fmt: skip


def _hold(session: Session, dataset_id: str) -> None:
    """Keep the dataset as it is until the run is recorded; raises Conflict if it is not ready."""
    query = select(DatasetRow).where(DatasetRow.id == dataset_id).with_for_update(read=True)
    row = session.scalars(query).one_or_none()
    if row is None:
        raise Conflict(f"dataset {dataset_id} is gone; train on another one", "dataset")
    if row.state != "succeeded":
        raise Conflict(f"dataset {dataset_id} is not ready: its preparation is {row.state}; wait for it", "dataset")
