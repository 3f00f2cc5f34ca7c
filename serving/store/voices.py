"""Cloned voices: references on the volume, facts in a table, both or neither."""

from __future__ import annotations

import builtins
import hashlib
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from serving.errors import Conflict, NotFound, StorageError
from serving.files import fsync_directory, refusing, write_atomic
from serving.store.database import Database
from serving.store.profile import PROFILE, VoiceFile, is_storable, normal_name, read_profile
from serving.store.quality import QualityReport
from serving.store.records import VoiceRow
from serving.store.voice_consents import VoiceConsentStore
from serving.store.volume import Volume, safe_name

PRONUNCIATIONS = "pronunciations.json"
"""A voice's dictionary, beside its profile; there is none where it was never given one."""

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
    quality: QualityReport | None = None

    @property
    def pronunciations(self) -> Path:
        """Where its dictionary is, if it has one."""
        return self.conditioning.parent / PRONUNCIATIONS


@dataclass(frozen=True)
class PresetProfile:
    """What a tenant has of one of the model's own voices, whose name is ``id``: a dictionary at most."""

    id: str
    tenant: str
    pronunciations: Path


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
        quality: QualityReport | None = None,
        pronunciations: bytes | None = None,
    ) -> VoiceProfile:
        """Store a voice; ``references`` are complete WAV files and ``reference_seconds`` is their total length;
        ``pronunciations`` is the JSON of a dictionary.

        Raises InvalidRequest naming the field, Conflict if the tenant has a voice of this name, NotFound if it has no
        consent of the id ``consent``, StorageError if the volume refuses. Nothing is left of one that was not added.
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
            quality=quality,
            created_at=datetime.now(UTC),
        )
        consents = VoiceConsentStore(self.volume)
        consents.check(tenant, consent)
        self._refuse_taken(voice)  # before megabytes are written; the table's constraint decides a race
        self._publish(voice, references, pronunciations)
        self._record(voice)
        try:
            consents.check(tenant, consent)  # it may have been deleted meanwhile, when it had no voice yet
        except NotFound:
            with suppress(NotFound):
                self.delete(voice.tenant, voice.id)
            raise
        return self._profile(_row(voice))

    def get(self, tenant: str, key: str) -> VoiceProfile:
        """The voice with id or name ``key``; raises NotFound."""
        with self.database.reading() as session:
            row = session.scalars(select(VoiceRow).where(_matches(tenant, key))).one_or_none()
        if row is None:
            raise _not_found(key)
        return self._profile(row)

    def preset(self, tenant: str, name: str) -> PresetProfile:
        """What the tenant has of the preset ``name``, which is not looked for; reads nothing."""
        file = f"{hashlib.sha256(name.lower().encode()).hexdigest()[:32]}.json"  # a model names it as it likes
        return PresetProfile(name, tenant, self.volume.presets(tenant) / file)

    def list(self, tenant: str) -> builtins.list[VoiceProfile]:
        """The tenant's voices, oldest first."""
        query = select(VoiceRow).where(VoiceRow.tenant == safe_name(tenant, "tenant"))
        with self.database.reading() as session:
            rows = session.scalars(query.order_by(VoiceRow.created_at, VoiceRow.id)).all()
        return [self._profile(row) for row in rows]

    def with_consent(self, tenant: str, consent_id: str) -> str | None:
        """The id of a voice that was made by that consent; None if there is none."""
        query = select(VoiceRow.id).where(
            VoiceRow.tenant == safe_name(tenant, "tenant"), VoiceRow.consent == consent_id
        )
        with self.database.reading() as session:
            return session.scalars(query.limit(1)).first()

    def set_quality(self, profile: VoiceProfile, quality: QualityReport) -> VoiceProfile:
        """Keep another report for a voice; raises NotFound if it was deleted meanwhile."""
        path = self.volume.voice(profile.tenant, profile.id) / PROFILE
        voice = read_profile(path)
        if voice is None:
            raise _not_found(profile.id)
        write_atomic(path, voice.model_copy(update={"quality": quality}).model_dump_json(indent=2).encode())
        query = (
            update(VoiceRow).where(_matches(profile.tenant, profile.id)).values(quality=quality.model_dump(mode="json"))
        )
        with self.database.session() as session:
            if session.scalars(query.returning(VoiceRow.id)).one_or_none() is None:
                raise _not_found(profile.id)
        return replace(profile, quality=quality)

    def set_pronunciations(self, profile: VoiceProfile | PresetProfile, data: bytes | None) -> None:
        """Keep ``data`` as the dictionary of a voice, None for none; raises NotFound if the voice was deleted."""
        directory = profile.pronunciations.parent
        if isinstance(profile, PresetProfile):
            with refusing(directory):
                directory.mkdir(parents=True, exist_ok=True)
                fsync_directory(directory.parent)
        elif not directory.is_dir():
            raise _not_found(profile.id)
        with refusing(profile.pronunciations):
            if data is None:
                profile.pronunciations.unlink(missing_ok=True)
            else:
                write_atomic(profile.pronunciations, data)

    def delete(self, tenant: str, key: str) -> None:
        """Forget the voice with id or name ``key``; raises NotFound. A synthesis that has its files open finishes."""
        voice_id = self.get(tenant, key).id
        # Recordings of a person: first where nobody finds them, then without a record, and then gone, not in a day.
        if not self.volume.erase_with(
            self.volume.voice(tenant, voice_id), lambda: self.database.forget(VoiceRow, voice_id)
        ):
            raise _not_found(key)  # another was faster

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

    def _publish(self, voice: VoiceFile, references: Sequence[bytes], pronunciations: bytes | None) -> None:
        with self.volume.publish(self.volume.voice(voice.tenant, voice.id)) as staging:
            (staging / "reference").mkdir()
            (staging / "conditioning").mkdir()
            for index, wav in enumerate(references):
                (staging / "reference" / f"{index}.wav").write_bytes(wav)
            if pronunciations is not None:
                (staging / PRONUNCIATIONS).write_bytes(pronunciations)
            write_atomic(staging / PROFILE, voice.model_dump_json(indent=2).encode())

    def _record(self, voice: VoiceFile) -> None:
        """Insert the row, or discard the published directory; it stays where nobody knows whether it has a row."""
        try:
            with self.database.session() as session:
                session.add(_row(voice))
        except BaseException as error:
            recorded = self.database.has(VoiceRow, voice.id)
            if recorded and isinstance(error, Exception):
                return  # only the answer was lost, or a reindex came between and was faster
            if recorded is False:
                with suppress(StorageError):
                    self.volume.discard(self.volume.voice(voice.tenant, voice.id))
            if isinstance(error, IntegrityError):
                raise _taken(voice) from error
            raise

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
            quality=None if row.quality is None else QualityReport.model_validate(row.quality),
        )


def _row(voice: VoiceFile) -> VoiceRow:
    quality = None if voice.quality is None else voice.quality.model_dump(mode="json")
    return VoiceRow(**{**voice.model_dump(), "quality": quality})


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
