"""Profiles: how to speak, under a name. Some are built in and stay; tenants add their own and choose a default."""

from __future__ import annotations

import builtins
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import delete, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from serving.errors import Conflict, InvalidRequest, NotFound
from serving.store.database import Database
from serving.store.profile import clean_name, is_storable, normal_name
from serving.store.records import ProfileDefaultRow, ProfileRow

PROFILE_ID = re.compile(r"profile_[0-9a-f]{24}")
PER_TENANT = 1000
"""Most profiles of one tenant."""


class Manner(BaseModel):
    """How to speak. What is None is the model's own; ``speed`` is a factor."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: Annotated[float, Field(ge=0.1, le=1.0)] | None = None
    top_k: Annotated[int, Field(ge=10, le=100)] | None = None
    top_p: Annotated[float, Field(ge=0.5, le=1.0)] | None = None
    repetition_penalty: Annotated[float, Field(ge=1.0, le=10.0)] | None = None
    speed: Annotated[float, Field(ge=0.5, le=2.0)] = 1.0


def _clean_description(text: str) -> str:
    if not is_storable(text):
        raise InvalidRequest("description has a NUL character; remove it", "description")
    return text


class ProfileFields(Manner):
    """What a tenant gives; raises InvalidRequest for a name or description that cannot be used."""

    name: Annotated[str, AfterValidator(clean_name)]
    description: Annotated[str, StringConstraints(max_length=500), AfterValidator(_clean_description)] | None = None


@dataclass(frozen=True)
class SpeechProfile:
    """One profile; built-in ones have their name as id, and no time."""

    id: str
    name: str
    description: str | None
    manner: Manner
    created_at: datetime | None = None

    @property
    def built_in(self) -> bool:
        return self.created_at is None


def _built_in(name: str, description: str, manner: Manner) -> SpeechProfile:
    return SpeechProfile(name, name, description, manner)


BUILT_IN: Mapping[str, SpeechProfile] = MappingProxyType(
    {
        each.id: each
        for each in (
            _built_in(
                "balanced",
                "The sampling that XTTS v2 was released with",
                Manner(temperature=0.75, top_k=50, top_p=0.85, repetition_penalty=5.0),
            ),
            _built_in(
                "expressive",
                "More variation from take to take, a little slower",
                Manner(temperature=0.85, top_k=60, top_p=0.9, repetition_penalty=4.0, speed=0.98),
            ),
            _built_in(
                "stable",
                "Less variation, for long texts",
                Manner(temperature=0.7, top_k=45, top_p=0.8, repetition_penalty=6.0),
            ),
        )
    }
)


class SpeechProfileStore:
    """The profiles of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, tenant: str) -> builtins.list[SpeechProfile]:
        """The built-in ones, then the tenant's own by name."""
        with self._database.reading() as session:
            rows = session.scalars(select(ProfileRow).where(ProfileRow.tenant == tenant).order_by(ProfileRow.name))
            return [*BUILT_IN.values(), *map(_profile, rows)]

    def get(self, tenant: str, key: str) -> SpeechProfile:
        """The profile of that id or name; raises NotFound (``profile``)."""
        if key in BUILT_IN:
            return BUILT_IN[key]
        with self._database.reading() as session:
            return _profile(_row(session, tenant, key))

    def add(self, tenant: str, fields: ProfileFields) -> SpeechProfile:
        """Raises Conflict for a name that is taken, InvalidRequest when there are too many."""
        _refuse_reserved(fields.name)
        row = ProfileRow(
            id=f"profile_{secrets.token_hex(12)}", tenant=tenant, created_at=datetime.now(UTC), **_columns(fields)
        )
        try:
            with self._database.session() as session:
                count = len(session.scalars(select(ProfileRow.id).where(ProfileRow.tenant == tenant)).all())
                if count >= PER_TENANT:
                    raise InvalidRequest(f"there are {count} profiles, the most that one tenant may have; delete some")
                session.add(row)
        except IntegrityError:
            raise _taken(fields.name) from None
        return _profile(row)

    def replace(self, tenant: str, key: str, fields: ProfileFields) -> SpeechProfile:
        """Give profile ``key`` all of ``fields``; raises NotFound, Conflict for a built-in one or a taken name."""
        _refuse_built_in(key, "changed")
        _refuse_reserved(fields.name)
        try:
            with self._database.session() as session:
                row = _row(session, tenant, key)
                for name, value in _columns(fields).items():
                    setattr(row, name, value)
                session.flush()
                return _profile(row)
        except IntegrityError:
            raise _taken(fields.name) from None

    def delete(self, tenant: str, key: str) -> str:
        """Forget it, also as the default; returns its id. Raises NotFound, Conflict for a built-in one."""
        _refuse_built_in(key, "deleted")
        with self._database.session() as session:
            row = _row(session, tenant, key, lock=True)  # whoever chooses it meanwhile waits, or is seen below
            chosen = session.get(ProfileDefaultRow, tenant)
            if chosen is not None and chosen.profile_id == row.id:
                session.delete(chosen)
            session.delete(row)
            return row.id

    def default(self, tenant: str) -> SpeechProfile | None:
        """What speech is made by that names no profile; None where the tenant chose none."""
        with self._database.reading() as session:
            chosen = session.get(ProfileDefaultRow, tenant)
            if chosen is None:
                return None
            if chosen.profile_id in BUILT_IN:
                return BUILT_IN[chosen.profile_id]
            row = session.get(ProfileRow, chosen.profile_id)
            return None if row is None else _profile(row)  # deleted at this moment

    def set_default(self, tenant: str, key: str | None) -> SpeechProfile | None:
        """Choose the default, or with None none; raises NotFound."""
        if key is None:
            with self._database.session() as session:
                session.execute(delete(ProfileDefaultRow).where(ProfileDefaultRow.tenant == tenant))
            return None
        try:
            return self._choose(tenant, key)
        except IntegrityError:  # another first choice was made at the same time
            return self._choose(tenant, key)

    def _choose(self, tenant: str, key: str) -> SpeechProfile:
        with self._database.session() as session:
            found = BUILT_IN.get(key) or _profile(_row(session, tenant, key, lock=True))
            query = update(ProfileDefaultRow).where(ProfileDefaultRow.tenant == tenant).values(profile_id=found.id)
            if session.scalars(query.returning(ProfileDefaultRow.tenant)).one_or_none() is None:
                session.add(ProfileDefaultRow(tenant=tenant, profile_id=found.id))
        return found


def _columns(fields: ProfileFields) -> dict[str, object]:
    manner = Manner.model_validate({name: getattr(fields, name) for name in Manner.model_fields})
    return {"name": fields.name, "description": fields.description, "manner": manner.model_dump()}


def _row(session: Session, tenant: str, key: str, *, lock: bool = False) -> ProfileRow:
    if not is_storable(key):
        raise _not_found(key)
    named = or_(ProfileRow.id == key, ProfileRow.name == normal_name(key))
    query = select(ProfileRow).where(ProfileRow.tenant == tenant, named)
    row = session.scalars(query.with_for_update() if lock else query).first()
    if row is None:
        raise _not_found(key)
    return row


def _not_found(key: str) -> NotFound:
    return NotFound(
        f"there is no profile {key[:100]!r}; GET /v1/profiles lists the profiles", "profile", "profile_not_found"
    )


def _profile(row: ProfileRow) -> SpeechProfile:
    return SpeechProfile(row.id, row.name, row.description, Manner.model_validate(row.manner), row.created_at)


def _refuse_reserved(name: str) -> None:
    if name in BUILT_IN or PROFILE_ID.fullmatch(name):
        raise Conflict(f"the name {name!r} is taken by a built-in profile; choose another", param="name")


def _refuse_built_in(key: str, what: str) -> None:
    if key in BUILT_IN:
        raise Conflict(f"profile {key!r} is built in and cannot be {what}; add one of your own", param="profile")


def _taken(name: str) -> Conflict:
    return Conflict(f"there is a profile {name!r} already; choose another name", param="name")
