"""Datasets: recordings and their facts on the volume, a record in a table."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.exc import IntegrityError

from serving.errors import Conflict, InvalidRequest, KubevoiceError, NotFound, RequestError, StorageError
from serving.store.dataset_files import (
    DATASET_FILE,
    RAW,
    DatasetSpec,
    read_dataset,
    read_dataset_status,
    write_dataset,
)
from serving.store.launched import Launched, LaunchedStore, how_far, record_of
from serving.store.profile import clean_name, is_storable, normal_name
from serving.store.record_file import RecordFile, write_record
from serving.store.records import DatasetRow, TrainingRunRow
from serving.store.volume import safe_name

DATASET_ID = re.compile(r"ds-[0-9a-f]{24}")

Fill = Callable[[Path], None]
"""Moves the recordings and transcripts into an empty directory."""


@dataclass(frozen=True)
class Dataset(Launched):
    """``files`` and ``bytes`` are those of ``raw/``."""

    files: int
    bytes: int


def clean_dataset_name(name: str) -> str:
    """The name of a dataset in its one spelling; raises InvalidRequest if it cannot be used."""
    name = clean_name(name)
    if DATASET_ID.fullmatch(name):
        raise InvalidRequest(f"name {name!r} looks like a dataset id; choose another", param="name")
    return name


class DatasetStore(LaunchedStore[DatasetRow, Dataset]):
    """The datasets of one volume and its database. ``get`` takes an id or a name."""

    row = DatasetRow
    what = "dataset"
    top = "datasets"
    facts_file = DATASET_FILE

    def add(self, name: str, spec: DatasetSpec, fill: Fill) -> Dataset:
        """Store the recordings that ``fill`` moves, under ``name``; in ``spec`` the id takes the place of the name.

        Raises Conflict if the tenant has a dataset of this name, StorageError, and what ``fill`` raises; nothing is
        left then.
        """
        name = clean_dataset_name(name)
        dataset_id = f"ds-{secrets.token_hex(12)}"
        facts = spec.model_copy(update={"name": dataset_id})
        self._refuse_taken(facts.tenant, name)  # before gigabytes are moved; the table's constraint decides a race
        directory = self.volume.dataset(facts.tenant, dataset_id)
        with self.volume.publish(directory) as staging:
            (staging / RAW).mkdir()
            fill(staging / RAW)
            write_dataset(staging, facts)
            now = datetime.now(UTC)
            write_record(staging, RecordFile(name=name, attempted_at=now, created_at=now))
            files, size = _measured(staging / RAW)
        row = DatasetRow(
            id=dataset_id, tenant=facts.tenant, name=name, files=files, bytes=size, created_at=now, attempted_at=now,
            attempt=1, phase="starting", state="queued", reason="",
        )  # fmt: skip
        dataset = self._item(row)
        self._record(row, dataset)
        return dataset

    def extend(self, dataset: Dataset, fill: Fill) -> Dataset:
        """Add what ``fill`` moves to the recordings, as one folder in ``raw/``, and begin another preparation.

        Raises Conflict while one is at work or a run uses the dataset, and what ``fill`` raises; nothing is added then.
        """
        if dataset.active:
            raise _preparing(dataset.id)
        added = dataset.directory / RAW / f"added-{secrets.token_hex(6)}"
        with self.volume.publish(added) as staging:
            fill(staging)
        try:
            return self._prepare_again(dataset)
        except BaseException as error:
            if isinstance(error, RequestError) or not self._may_have_begun(dataset):
                self.volume.discard(added)
            raise

    def _may_have_begun(self, dataset: Dataset) -> bool:
        """Whether another preparation is recorded, as far as one knows: the answer of a commit may be lost."""
        try:
            return self.get(dataset.tenant, dataset.id).attempt != dataset.attempt
        except NotFound:
            return False
        except KubevoiceError:
            return True

    def _prepare_again(self, dataset: Dataset) -> Dataset:
        files, size = _measured(dataset.directory / RAW)
        with self._database.session() as session:
            row = session.scalars(select(DatasetRow).where(DatasetRow.id == dataset.id).with_for_update()).one_or_none()
            if row is None:
                raise self._not_found(dataset.id)
            if row.phase != "finished":
                raise _preparing(dataset.id)
            used = session.scalars(select(TrainingRunRow.id).where(_uses(dataset.id))).first()
            if used is not None:
                raise in_use(dataset.id, used)
            row.phase, row.state, row.reason, row.attempt = "starting", "queued", "", row.attempt + 1
            row.attempted_at, row.files, row.bytes = datetime.now(UTC), files, size
        return self._item(row)

    def lay(self, dataset: Dataset) -> None:
        """Keep in its folder which attempt this is. Raises StorageError."""
        if dataset.directory.is_dir():  # else it was deleted meanwhile
            write_record(dataset.directory, record_of(dataset))

    def delete(self, dataset: Dataset) -> None:
        """Forget it. Raises Conflict while a run uses it, NotFound if it is gone; open readers finish."""
        with self._database.session() as session:
            row = session.scalars(select(DatasetRow).where(DatasetRow.id == dataset.id).with_for_update()).one_or_none()
            if row is None:
                raise self._not_found(dataset.id)
            used = session.scalars(select(TrainingRunRow.id).where(_uses(dataset.id))).first()
            if used is not None:
                raise in_use(dataset.id, used)
            session.delete(row)
        self.volume.discard(dataset.directory)

    def _record(self, row: DatasetRow, dataset: Dataset) -> None:
        """Insert the row, or discard the published files; they stay where nobody knows whether they have a row."""
        try:
            with self._database.session() as session:
                session.add(row)
        except BaseException as error:
            recorded = self._database.has(DatasetRow, dataset.id)
            if recorded and isinstance(error, Exception):
                return  # only the answer was lost
            if recorded is False:
                with suppress(StorageError):
                    self.volume.discard(dataset.directory)
            if isinstance(error, IntegrityError):
                raise _taken(dataset.name) from error
            raise

    def _refuse_taken(self, tenant: str, name: str) -> None:
        with suppress(NotFound):
            self.get(tenant, name)
            raise _taken(name)

    def _matches(self, tenant: str, key: str) -> ColumnElement[bool]:
        if not is_storable(key):
            raise self._not_found(key)
        either = or_(DatasetRow.id == key, DatasetRow.name == normal_name(key))
        return and_(DatasetRow.tenant == safe_name(tenant, "tenant"), either)

    def _item(self, row: DatasetRow) -> Dataset:
        return Dataset(**self._shared(row), files=row.files, bytes=row.bytes)

    def _made_again(self, directory: Path, record: RecordFile) -> DatasetRow:
        if not DATASET_ID.fullmatch(directory.name):
            raise InvalidRequest("it was made by hand: its name is not an id; upload it to have it listed")
        spec, status = read_dataset(directory), read_dataset_status(directory)
        ready = status is not None and status.state == "ready" and status.updated_at >= record.attempted_at
        files, size = _measured(directory / RAW)
        columns = self._columns(spec.tenant, spec.name, record)
        return DatasetRow(**columns, **how_far(ready), files=files, bytes=size)


def in_use(dataset: str, run: str) -> Conflict:
    return Conflict(f"dataset {dataset} is used by training run {run}; wait for its end or cancel it", "dataset")


def _preparing(dataset: str) -> Conflict:
    return Conflict(f"dataset {dataset} is being prepared; wait for it", "dataset")


def _uses(dataset_id: str) -> ColumnElement[bool]:
    return and_(TrainingRunRow.dataset_id == dataset_id, TrainingRunRow.phase != "finished")


def _measured(raw: Path) -> tuple[int, int]:
    """(files, bytes) below ``raw``."""
    sizes = [path.stat().st_size for path in raw.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def _taken(name: str) -> Conflict:
    return Conflict(f"there is a dataset named {name!r}; choose another name, or add files to that one", "name")
