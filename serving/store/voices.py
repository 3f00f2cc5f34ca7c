"""Cloned voices: references on the volume, facts in a table, both or neither."""

from __future__ import annotations

import builtins
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from serving.errors import Conflict, NotFound, StorageError
from serving.files import write_atomic
from serving.store.database import Database
from serving.store.profile import PROFILE, VoiceFile, is_storable, normal_name, read_profile
from serving.store.records import VoiceRow
from serving.store.volume import Volume, safe_name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VoiceProfile:
    """One voice. ``references`` are WAV files, ``reference_seconds`` their total length, ``created_at`` is in UTC.

    ``conditioning`` is the directory in which engines keep what they compute from the references.
    """

    id: str
    tenant: str
    name: str
    language: str | None
    description: str | None
    consent: str | None
    references: tuple[Path, ...]
    conditioning: Path
    reference_seconds: float
    created_at: datetime


class VoiceStore:
    """The voices of one volume and its database."""

    def __init__(self, volume: Volume, database: Database) -> None:
        self.volume = volume
        self.database = database

    def add(
        self,
        *,
        tenant: str,
        name: str,
        references: Sequence[bytes],
        reference_seconds: float,
        language: str | None = None,
        description: str | None = None,
        consent: str | None = None,
    ) -> VoiceProfile:
        """Store a voice; ``references`` are complete WAV files and ``reference_seconds`` is their total length.

        Raises InvalidRequest naming the field, Conflict if the tenant has a voice of this name, StorageError if the
        volume refuses. Nothing is left of a voice that was not added.
        """
        assert references, "a voice needs a reference"
        voice = VoiceFile(
            id=f"voice_{secrets.token_hex(12)}",
            tenant=tenant,
            name=name,
            language=language,
            description=description,
            consent=consent,
            reference_count=len(references),
            reference_seconds=reference_seconds,
            created_at=datetime.now(UTC),
        )
        self._refuse_taken(voice)  # before megabytes are written; the table's constraint decides a race
        self._publish(voice, references)
        self._record(voice)
        return self._profile(_row(voice))

    def get(self, tenant: str, key: str) -> VoiceProfile:
        """The voice with id or name ``key``; raises NotFound."""
        with self.database.reading() as session:
            row = session.scalars(select(VoiceRow).where(_matches(tenant, key))).one_or_none()
        if row is None:
            raise _not_found(key)
        return self._profile(row)

    def list(self, tenant: str) -> builtins.list[VoiceProfile]:
        """The tenant's voices, oldest first."""
        query = select(VoiceRow).where(VoiceRow.tenant == safe_name(tenant, "tenant"))
        with self.database.reading() as session:
            rows = session.scalars(query.order_by(VoiceRow.created_at, VoiceRow.id)).all()
        return [self._profile(row) for row in rows]

    def delete(self, tenant: str, key: str) -> None:
        """Forget the voice with id or name ``key``; raises NotFound. A synthesis that has its files open finishes."""
        query = delete(VoiceRow).where(_matches(tenant, key)).returning(VoiceRow.id)
        with self.database.session() as session:
            voice_id = session.scalars(query).one_or_none()
        if voice_id is None:
            raise _not_found(key)
        self.volume.discard(self.volume.voice(tenant, voice_id))

    def reindex(self) -> int:
        """Rebuild the table from the profiles on the volume; returns the number of voices.

        Rows without a directory go, directories without a row get one. A profile that cannot be read, or whose name
        another voice of the tenant has, is logged and left alone.
        """
        paths = (self.volume.root / "voices").glob(f"*/*/{PROFILE}")
        found = [voice for path in paths if (voice := read_profile(path)) is not None]
        with self.database.session() as session:
            known = self._drop_lost(session)
            for voice in sorted(found, key=lambda voice: voice.created_at):
                if voice.id not in known:
                    _insert_if_free(session, voice)
            return session.scalars(select(func.count()).select_from(VoiceRow)).one()

    def _refuse_taken(self, voice: VoiceFile) -> None:
        query = select(VoiceRow.id).where(VoiceRow.tenant == voice.tenant, VoiceRow.name == voice.name)
        with self.database.reading() as session:
            if session.scalars(query).first() is not None:
                raise _taken(voice)

    def _publish(self, voice: VoiceFile, references: Sequence[bytes]) -> None:
        with self.volume.publish(self.volume.voice(voice.tenant, voice.id)) as staging:
            (staging / "reference").mkdir()
            (staging / "conditioning").mkdir()
            for index, wav in enumerate(references):
                (staging / "reference" / f"{index}.wav").write_bytes(wav)
            write_atomic(staging / PROFILE, voice.model_dump_json(indent=2).encode())

    def _record(self, voice: VoiceFile) -> None:
        """Insert the row, or discard the published directory."""
        try:
            with self.database.session() as session:
                session.add(_row(voice))
        except BaseException as error:
            taken = isinstance(error, IntegrityError)
            if taken and self._is_recorded(voice):
                return  # a reindex came between and was faster
            with suppress(StorageError):
                self.volume.discard(self.volume.voice(voice.tenant, voice.id))
            if taken:
                raise _taken(voice) from error
            raise

    def _is_recorded(self, voice: VoiceFile) -> bool:
        with self.database.reading() as session:
            return session.get(VoiceRow, voice.id) is not None

    def _drop_lost(self, session: Session) -> set[str]:
        """Delete the rows whose directory is gone; the ids of the others."""
        rows = session.scalars(select(VoiceRow)).all()
        known = {row.id for row in rows if self.volume.voice(row.tenant, row.id).is_dir()}
        lost = [row.id for row in rows if row.id not in known]
        session.execute(delete(VoiceRow).where(VoiceRow.id.in_(lost)))  # by statement: another reindex may be faster
        return known

    def _profile(self, row: VoiceRow) -> VoiceProfile:
        directory = self.volume.voice(row.tenant, row.id)
        return VoiceProfile(
            id=row.id,
            tenant=row.tenant,
            name=row.name,
            language=row.language,
            description=row.description,
            consent=row.consent,
            references=tuple(directory / "reference" / f"{index}.wav" for index in range(row.reference_count)),
            conditioning=directory / "conditioning",
            reference_seconds=row.reference_seconds,
            created_at=row.created_at,
        )


def _row(voice: VoiceFile) -> VoiceRow:
    return VoiceRow(**voice.model_dump())


def _insert_if_free(session: Session, voice: VoiceFile) -> None:
    try:
        with session.begin_nested():
            session.add(_row(voice))
    except IntegrityError:
        log.warning("voice %s of %s is left out: its name %r is taken", voice.id, voice.tenant, voice.name)


def _matches(tenant: str, key: str) -> ColumnElement[bool]:
    """The voice of ``tenant`` with that id or name; no name looks like an id, so it is one at most."""
    if not is_storable(key):
        raise _not_found(key)
    return and_(
        VoiceRow.tenant == safe_name(tenant, "tenant"), or_(VoiceRow.id == key, VoiceRow.name == normal_name(key))
    )


def _taken(voice: VoiceFile) -> Conflict:
    return Conflict(f"there is a voice named {voice.name!r}; choose another name or delete it first", param="name")


def _not_found(key: str) -> NotFound:
    return NotFound(f"there is no voice {key[:80]!r}; list the voices or add one", param="voice")
