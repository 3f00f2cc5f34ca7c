"""API keys: who may do what, for which tenant. A key is told once, when it is made; the table has its digest."""

from __future__ import annotations

import builtins
import functools
import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from serving.errors import InvalidRequest, NotFound
from serving.settings_groups import QUOTAS, Limits
from serving.store.database import Database
from serving.store.pepper import pepper
from serving.store.profile import clean_name, is_storable
from serving.store.records import ApiKeyRow
from serving.store.volume import safe_name

SCOPES = ("speech", "voices", "training", "admin")

KEY = re.compile(r"kv_[0-9a-f]{16}_[A-Za-z0-9_-]{43}")
"""``kv_``, the id, and 256 random bits: easy to find for scanners of leaked secrets."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key; ``hint`` is how it ends, ``limits`` are quotas of its own."""

    id: str
    tenant: str
    name: str
    hint: str
    scopes: frozenset[str]
    limits: Mapping[str, int]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def state(self) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= datetime.now(UTC):
            return "expired"
        return "active"


class ApiKeyStore:
    """The keys in one database; ``secret`` is the setting ``auth.pepper``, without which ``root`` keeps one."""

    def __init__(self, database: Database, root: Path, secret: str | None = None) -> None:
        self._database = database
        self._root, self._secret = root, secret

    def create(
        self,
        tenant: str,
        name: str,
        scopes: Collection[str],
        expires_at: datetime | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key, and the text of it, which cannot be had again. Raises InvalidRequest naming the field."""
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            found = f"{unknown[0][:40]!r} is none" if unknown else "there is none"
            raise InvalidRequest(f"scopes: {found}; give some of {', '.join(SCOPES)}", "scopes")
        now = datetime.now(UTC)
        if expires_at is not None and expires_at <= now:
            raise InvalidRequest("expires_at is in the past; give a later time", "expires_at")
        quotas = _quotas(limits or {})
        identity = secrets.token_hex(8)
        text = f"kv_{identity}_{secrets.token_urlsafe(32)}"
        row = ApiKeyRow(
            id=f"key_{identity}", tenant=safe_name(tenant, "tenant"), name=clean_name(name), digest=self._digest(text),
            hint=text[-4:], scopes=sorted(set(scopes)), limits=quotas, created_at=now,
            expires_at=expires_at,
        )  # fmt: skip
        with self._database.session() as session:
            session.add(row)
        return _key(row), text

    def find(self, text: str) -> ApiKey | None:
        """The key that ``text`` is, in whatever state. It is looked up by its digest: timing tells nothing of it."""
        if not KEY.fullmatch(text):
            return None
        with self._database.reading() as session:
            row = session.scalars(select(ApiKeyRow).where(ApiKeyRow.digest == self._digest(text))).one_or_none()
            return None if row is None else _key(row)

    def exist(self) -> bool:
        """Whether a key was ever made, even one that was revoked."""
        with self._database.reading() as session:
            return session.scalars(select(ApiKeyRow.id).limit(1)).first() is not None

    def list(self, tenant: str | None) -> builtins.list[ApiKey]:
        """The keys of ``tenant``, of all for None, oldest first."""
        query = select(ApiKeyRow).order_by(ApiKeyRow.created_at, ApiKeyRow.id)
        if tenant is not None:
            query = query.where(ApiKeyRow.tenant == tenant)
        with self._database.reading() as session:
            return [_key(row) for row in session.scalars(query)]

    def get(self, tenant: str | None, key_id: str) -> ApiKey:
        """Raises NotFound where ``tenant`` (None: anybody) has no such key."""
        with self._database.reading() as session:
            return _key(_found(session, tenant, key_id))

    def revoke(self, tenant: str | None, key_id: str) -> ApiKey:
        """Let it work no more; again is no error. Raises NotFound."""
        with self._database.session() as session:
            row = _found(session, tenant, key_id)
            row.revoked_at = row.revoked_at or datetime.now(UTC)
            return _key(row)

    def _digest(self, text: str) -> str:
        return hmac.new(self._pepper, text.encode(), hashlib.sha256).hexdigest()

    @functools.cached_property
    def _pepper(self) -> bytes:
        return pepper(self._root, self._secret)


def _found(session: Session, tenant: str | None, key_id: str) -> ApiKeyRow:
    row = session.get(ApiKeyRow, key_id[:64]) if is_storable(key_id) else None
    if row is None or (tenant is not None and row.tenant != tenant):
        raise NotFound(f"there is no key {key_id[:64]!r}; list the keys to see their ids", "key", "key_not_found")
    return row


def _quotas(limits: Mapping[str, int]) -> dict[str, int]:
    try:
        return Limits.model_validate(dict(limits)).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))[:40]
        reason = f": {first['msg']}" if name in QUOTAS else f" is no quota; give some of {', '.join(QUOTAS)}"
        raise InvalidRequest(f"limits.{name}{reason}", f"limits.{name}") from None


def _key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        row.id, row.tenant, row.name, row.hint, frozenset(row.scopes), dict(row.limits), row.created_at,
        row.expires_at, row.revoked_at,
    )  # fmt: skip
