"""The audit log: who changed what, when, and whether it went well. A line of the log always, a row where it can be."""

from __future__ import annotations

import builtins
import logging
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

from sqlalchemy import ColumnElement, CursorResult, and_, delete, or_, select

from serving.errors import KubevoiceError, NotFound
from serving.logs import AUDIT, request_id
from serving.store.database import Database
from serving.store.records import AuditRow

Outcome = Literal["succeeded", "failed", "denied", "unknown"]
"""``unknown``: the client left before the answer, so the work may have been done."""

log = logging.getLogger(__name__)
lines = logging.getLogger(AUDIT)


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. ``actor`` is a key's id, ``root``, ``oidc:<sub>``, ``cli:<user>`` or ``anonymous``.

    ``detail`` has ids and codes, no names and no texts: what was deleted must not live on here.
    """

    tenant: str
    actor: str
    action: str
    outcome: Outcome
    object_id: str | None = None
    detail: Mapping[str, object] = field(default_factory=dict)
    request_id: str | None = field(default_factory=request_id.get)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = field(default_factory=lambda: f"audit_{secrets.token_hex(12)}")


class AuditStore:
    """The audit log in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, entry: Entry) -> bool:
        """Write ``entry``; False where the database would not take it: then the line is all there is of it."""
        row = AuditRow(**{**asdict(entry), "detail": dict(entry.detail)})
        row.object_id, row.actor = _storable(entry.object_id, 255), _storable(entry.actor, 255) or "anonymous"
        row.request_id = _storable(entry.request_id, 128)
        say(entry)
        try:
            with self._database.session() as session:
                session.add(row)
        except KubevoiceError as error:
            log.warning("the audit log has no row of %s by %s: %s", entry.action, entry.actor, error)
            return False
        return True

    def list(
        self,
        tenant: str | None,
        limit: int,
        *,
        after: str | None = None,
        action: str | None = None,
        object_id: str | None = None,
        since: datetime | None = None,
    ) -> builtins.list[Entry]:
        """At most ``limit`` entries of ``tenant`` (None: of all), newest first, those behind the entry ``after``.

        Raises NotFound if the tenant has no entry of that id.
        """
        query = select(AuditRow).order_by(AuditRow.at.desc(), AuditRow.id.desc()).limit(limit)
        wanted: builtins.list[ColumnElement[bool]] = []
        if tenant is not None:
            wanted.append(AuditRow.tenant == tenant)
        if action is not None:
            wanted.append(AuditRow.action == action)
        if object_id is not None:
            wanted.append(AuditRow.object_id == object_id)
        if since is not None:
            wanted.append(AuditRow.at >= since)
        with self._database.reading() as session:
            if after is not None:
                last = session.get(AuditRow, after)
                if last is None or (tenant is not None and last.tenant != tenant):
                    raise NotFound(f"there is no entry {after[:64]!r}; begin without after", "after")
                wanted.append(or_(AuditRow.at < last.at, and_(AuditRow.at == last.at, AuditRow.id < last.id)))
            return [_entry(row) for row in session.scalars(query.where(*wanted))]

    def sweep(self, keep: timedelta) -> int:
        """Forget entries older than ``keep``; how many."""
        query = delete(AuditRow).where(AuditRow.at < datetime.now(UTC) - keep)
        with self._database.session() as session:
            return int(cast("CursorResult[Any]", session.execute(query)).rowcount)


def say(entry: Entry) -> None:
    """The line of ``entry`` in the log."""
    fields = {key: value for key, value in asdict(entry).items() if key not in ("at", "request_id")}
    lines.info("%s", entry.action, extra={"fields": fields})


def _storable(text: str | None, most: int) -> str | None:
    """Without what a database refuses, such as NUL, and not longer than its column."""
    return text and "".join(letter if letter.isprintable() else "?" for letter in text)[:most]


def _entry(row: AuditRow) -> Entry:
    return Entry(
        row.tenant, row.actor, row.action, row.outcome, row.object_id, row.detail, row.request_id, row.at, row.id  # type: ignore[arg-type]
    )  # fmt: skip
