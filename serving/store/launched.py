"""What datasets and training runs share: a record of what a launcher was asked to do, and how far that came."""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypedDict, TypeVar

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from serving.errors import Conflict, KubevoiceError, NotFound
from serving.store.database import Database
from serving.store.profile import is_storable
from serving.store.record_file import RecordFile, read_record
from serving.store.records import LaunchedRow
from serving.store.volume import Volume, safe_name

Phase = Literal["starting", "started", "cancelling", "finished"]
LaunchedState = Literal["queued", "suspended", "running", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True)
class Launched:
    """One record; see ``LaunchedRow``. ``directory`` is its folder on the volume."""

    id: str
    tenant: str
    name: str
    directory: Path
    attempt: int
    phase: str
    state: str
    reason: str
    attempted_at: datetime
    created_at: datetime

    @property
    def job(self) -> str:
        """What the launcher calls this attempt. No two attempts have one name, so no answer is about another."""
        return f"{self.id}-{self.attempt}"

    @property
    def active(self) -> bool:
        """Whether something is at work, or about to be."""
        return self.phase != "finished"


class Columns(TypedDict):
    """The columns that every such table has, apart from how far it came."""

    id: str
    tenant: str
    name: str
    attempt: int
    attempted_at: datetime
    created_at: datetime


class Facts(Columns):
    """The fields that every such record has."""

    directory: Path
    phase: str
    state: str
    reason: str


@dataclass(frozen=True)
class Reindexed:
    """How many records there are now, and of each folder that has none why."""

    count: int
    skipped: builtins.list[str]


Row = TypeVar("Row", bound=LaunchedRow)
Item = TypeVar("Item", bound=Launched)


class LaunchedStore(ABC, Generic[Row, Item]):
    """The records in one table, and their folders, ``top`` on the volume, each with ``facts_file`` in it."""

    row: type[Row]
    what: str
    top: ClassVar[str]
    facts_file: ClassVar[str]

    def __init__(self, volume: Volume, database: Database) -> None:
        self.volume = volume
        self._database = database

    @abstractmethod
    def _item(self, row: Row) -> Item:
        """The record of ``row``."""

    @abstractmethod
    def _made_again(self, directory: Path, record: RecordFile) -> Row:
        """The row of a folder that has lost it. Raises KubevoiceError for one that is broken or somebody else's."""

    def _shared(self, row: Row) -> Facts:
        directory = self.volume.root / self.top / row.tenant / row.id
        return {
            "id": row.id, "tenant": row.tenant, "name": row.name, "directory": directory, "attempt": row.attempt,
            "phase": row.phase, "state": row.state, "reason": row.reason, "attempted_at": row.attempted_at,
            "created_at": row.created_at,
        }  # fmt: skip

    def reindex(self) -> Reindexed:
        """Make the rows of folders on the volume that have none; rows that are there stay as they are.

        What had not succeeded counts as started: whoever looks at it next asks the launcher what became of it.
        """
        skipped = []
        for directory in sorted((self.volume.root / self.top).glob("*/*")):
            try:
                self._index(directory)
            except (KubevoiceError, OSError) as error:
                skipped.append(f"{self.what} {directory} is left out: {error}")
        with self._database.reading() as session:
            return Reindexed(session.scalars(select(func.count()).select_from(self.row)).one(), skipped)

    def _index(self, directory: Path) -> None:
        tenant, key = safe_name(directory.parent.name, "tenant"), directory.name
        with self._database.reading() as session:
            if session.get(self.row, key) is not None:
                return
        row = self._made_again(directory, read_record(directory, self.facts_file))
        if (row.tenant, row.id) != (tenant, key):
            raise Conflict(f"its {self.facts_file} is that of {row.tenant}/{row.id}; it was copied or renamed")
        try:
            with self._database.session() as session:
                session.add(row)
        except IntegrityError:
            with self._database.reading() as session:
                if session.get(self.row, key) is not None:
                    return  # another process was faster
            raise Conflict("another one of its tenant has its name or Idempotency-Key") from None

    def get(self, tenant: str, key: str) -> Item:
        """The record with id ``key``; raises NotFound."""
        with self._database.reading() as session:
            row = session.scalars(select(self.row).where(self._matches(tenant, key))).one_or_none()
        if row is None:
            raise self._not_found(key)
        return self._item(row)

    def list(self, tenant: str, limit: int, after: str | None = None) -> builtins.list[Item]:
        """At most ``limit`` records, newest first, those behind the id ``after``; raises NotFound for that."""
        query = select(self.row).where(self.row.tenant == safe_name(tenant, "tenant"))
        if after is not None:
            try:
                last = self.get(tenant, after)
            except NotFound:
                raise NotFound(f"there is no {self.what} {after[:80]!r}; begin without after", "after") from None
            older = and_(self.row.created_at == last.created_at, self.row.id < last.id)
            query = query.where(or_(self.row.created_at < last.created_at, older))
        with self._database.reading() as session:
            rows = session.scalars(query.order_by(self.row.created_at.desc(), self.row.id.desc()).limit(limit)).all()
        return [self._item(row) for row in rows]

    def unfinished(self) -> builtins.list[Item]:
        """The records of all tenants at which something is to be done or to be seen, oldest first."""
        query = select(self.row).where(self.row.phase != "finished").order_by(self.row.created_at, self.row.id)
        with self._database.reading() as session:
            rows = session.scalars(query).all()
        return [self._item(row) for row in rows]

    def move(self, item: Item, *, only_from: Iterable[Phase], phase: Phase, state: LaunchedState, reason: str) -> bool:
        """Set phase, state and reason of ``item``; False if it has left ``only_from``, begun anew or gone meanwhile."""
        same = and_(self.row.id == item.id, self.row.attempt == item.attempt, self.row.phase.in_(list(only_from)))
        values = {"phase": phase, "state": state, "reason": reason}
        query = update(self.row).where(same).values(**values).returning(self.row.id)
        with self._database.session() as session:
            return session.scalars(query).one_or_none() is not None

    @staticmethod
    def _columns(tenant: str, key: str, record: RecordFile) -> Columns:
        return {
            "id": key, "tenant": tenant, "name": record.name, "attempt": record.attempt,
            "attempted_at": record.attempted_at, "created_at": record.created_at,
        }  # fmt: skip

    def _matches(self, tenant: str, key: str) -> ColumnElement[bool]:
        if not is_storable(key):
            raise self._not_found(key)
        return and_(self.row.tenant == safe_name(tenant, "tenant"), self.row.id == key)

    def _not_found(self, key: str) -> NotFound:
        return NotFound(f"there is no {self.what} {key[:80]!r}; list them", self.what.split()[-1], "not_found")


def record_of(item: Launched, **facts: Any) -> RecordFile:
    """What is kept of ``item`` in its folder, beside what the files there say."""
    return RecordFile(
        name=item.name, attempt=item.attempt, attempted_at=item.attempted_at, created_at=item.created_at, **facts
    )


def how_far(succeeded: bool) -> dict[str, str]:
    """Phase, state and reason of a row that is made again."""
    if succeeded:
        return {"phase": "finished", "state": "succeeded", "reason": ""}
    return {"phase": "started", "state": "queued", "reason": ""}
