"""Conversion models (RVC voices): files on the volume, facts in a table, both or neither."""

from __future__ import annotations

import builtins
import logging
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from serving.errors import Conflict, ModelFilesError, NotFound, StorageError
from serving.store.conversion_facts import ConversionFacts, clean_model_name, read_facts
from serving.store.database import Database
from serving.store.models import ModelStore
from serving.store.profile import is_storable, normal_name
from serving.store.records import ConversionModelRow
from serving.store.volume import Volume, safe_name

KIND = "rvc"
REVISION = "r1"
"""A model is uploaded once; another upload is another model."""

Fill = Callable[[Path], Mapping[str, object]]
"""Writes a model's files into an empty directory and returns the facts: version, sample_rate, f0, speakers, ..."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConversionModel:
    """One model. ``directory`` holds its files and never changes, ``bytes`` is their size, ``created_at`` is in UTC."""

    id: str
    tenant: str
    name: str
    directory: Path
    version: str
    sample_rate: int
    f0: bool
    speakers: int
    index_vectors: int
    bytes: int
    notes: tuple[str, ...]
    created_at: datetime


class ConversionModelStore:
    """The conversion models of one volume and its database."""

    def __init__(self, volume: Volume, database: Database) -> None:
        self.volume = volume
        self._database = database
        self._models = ModelStore(volume)

    def add(self, *, tenant: str, name: str, fill: Fill) -> ConversionModel:
        """Store the model that ``fill`` writes.

        Raises InvalidRequest naming the field, Conflict if the tenant has a model of this name, StorageError if the
        volume refuses, and what ``fill`` raises. Nothing is left of a model that was not added.
        """
        tenant, name = safe_name(tenant, "tenant"), clean_model_name(name)
        self._refuse_taken(tenant, name)  # before gigabytes are written; the table's constraint decides a race
        model_id = f"rvc_{secrets.token_hex(12)}"
        manifest: dict[str, object] = {}
        try:
            with self._models.publish(KIND, model_id, REVISION, manifest) as staging:
                found = dict(fill(staging))
                facts = ConversionFacts.model_validate(
                    {**found, "id": model_id, "tenant": tenant, "name": name, "created_at": datetime.now(UTC)}
                )
                manifest.update(facts.model_dump(mode="json"))
                size = sum(file.stat().st_size for file in staging.rglob("*") if file.is_file())
        except BaseException:
            with suppress(OSError):
                self.volume.models(KIND, model_id).rmdir()
            raise
        self._record(facts, size)
        return self._model(_row(facts, size))

    def get(self, tenant: str, key: str) -> ConversionModel:
        """The model with id or name ``key``; raises NotFound."""
        with self._database.reading() as session:
            row = session.scalars(select(ConversionModelRow).where(_matches(tenant, key))).one_or_none()
        if row is None:
            raise _not_found(key)
        return self._model(row)

    def list(self, tenant: str) -> builtins.list[ConversionModel]:
        """The tenant's models, oldest first."""
        query = select(ConversionModelRow).where(ConversionModelRow.tenant == safe_name(tenant, "tenant"))
        with self._database.reading() as session:
            rows = session.scalars(query.order_by(ConversionModelRow.created_at, ConversionModelRow.id)).all()
        return [self._model(row) for row in rows]

    def delete(self, tenant: str, key: str) -> str:
        """Forget the model with id or name ``key``; returns its id, raises NotFound. Open readers finish."""
        model_id = self.get(tenant, key).id
        # Somebody's voice: as that of a voice, see there.
        directory = self.volume.models(KIND, model_id)
        if not self.volume.erase_with(directory, lambda: self._database.forget(ConversionModelRow, model_id)):
            raise _not_found(key)
        return model_id

    def reindex(self) -> int:
        """Rebuild the table from the manifests on the volume; returns the number of models.

        Rows without a directory go, directories without a row get one. A manifest that cannot be read, or whose name
        another model of the tenant has, is logged and left alone.
        """
        found = [known for path in self._directories() if (known := read_facts(path)) is not None]
        with self._database.session() as session:
            kept = self._drop_lost(session)
            for facts, size in sorted(found, key=lambda known: known[0].created_at):
                if facts.id not in kept:
                    _insert_if_free(session, facts, size)
            return session.scalars(select(func.count()).select_from(ConversionModelRow)).one()

    def _directories(self) -> builtins.list[Path]:
        """The current revision of every model on the volume."""
        current = []
        for pointer in sorted((self.volume.root / "models" / KIND).glob("*/current")):
            try:
                revision = self._models.current(KIND, pointer.parent.name)
            except ModelFilesError as error:
                log.warning("%s", error)
                continue
            if revision is not None:
                current.append(revision.path)
        return current

    def _refuse_taken(self, tenant: str, name: str) -> None:
        query = select(ConversionModelRow.id).where(
            ConversionModelRow.tenant == tenant, ConversionModelRow.name == name
        )
        with self._database.reading() as session:
            if session.scalars(query).first() is not None:
                raise _taken(name)

    def _record(self, facts: ConversionFacts, size: int) -> None:
        """Insert the row, or discard the published files; they stay where nobody knows whether they have a row."""
        try:
            with self._database.session() as session:
                session.add(_row(facts, size))
        except BaseException as error:
            recorded = self._database.has(ConversionModelRow, facts.id)
            if recorded and isinstance(error, Exception):
                return  # only the answer was lost, or a reindex came between and was faster
            if recorded is False:
                with suppress(StorageError):
                    self.volume.discard(self.volume.models(KIND, facts.id))
            if isinstance(error, IntegrityError):
                raise _taken(facts.name) from error
            raise

    def _drop_lost(self, session: Session) -> set[str]:
        """Delete the rows whose files are gone; the ids of the others."""
        rows = session.scalars(select(ConversionModelRow)).all()
        known = {row.id for row in rows if self._model(row).directory.is_dir()}
        lost = [row.id for row in rows if row.id not in known]
        session.execute(delete(ConversionModelRow).where(ConversionModelRow.id.in_(lost)))
        return known

    def _model(self, row: ConversionModelRow) -> ConversionModel:
        return ConversionModel(
            id=row.id,
            tenant=row.tenant,
            name=row.name,
            directory=self.volume.models(KIND, row.id) / row.revision,
            version=row.version,
            sample_rate=row.sample_rate,
            f0=row.f0,
            speakers=row.speakers,
            index_vectors=row.index_vectors,
            bytes=row.bytes,
            notes=tuple(row.notes),
            created_at=row.created_at,
        )


def _row(facts: ConversionFacts, size: int) -> ConversionModelRow:
    return ConversionModelRow(**{**facts.model_dump(), "notes": [*facts.notes]}, revision=REVISION, bytes=size)


def _insert_if_free(session: Session, facts: ConversionFacts, size: int) -> None:
    try:
        with session.begin_nested():
            session.add(_row(facts, size))
    except IntegrityError:
        log.warning("model %s of %s is left out: its name %r is taken", facts.id, facts.tenant, facts.name)


def _matches(tenant: str, key: str) -> ColumnElement[bool]:
    """The model of ``tenant`` with that id or name; no name looks like an id, so it is one at most."""
    if not is_storable(key):
        raise _not_found(key)
    return and_(
        ConversionModelRow.tenant == safe_name(tenant, "tenant"),
        or_(ConversionModelRow.id == key, ConversionModelRow.name == normal_name(key)),
    )


def _taken(name: str) -> Conflict:
    return Conflict(f"there is a conversion model named {name!r}; choose another name or delete it first", "name")


def _not_found(key: str) -> NotFound:
    return NotFound(
        f"there is no conversion model {key[:80]!r}; GET /v1/conversion-models lists them", "model", "model_not_found"
    )
