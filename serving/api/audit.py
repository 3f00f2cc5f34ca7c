"""``/v1/audit``: who changed what."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from serving.api.caller import current, tenant
from serving.api.context import Ctx
from serving.api.instants import Instant
from serving.errors import Forbidden
from serving.selection import DEFAULT_TENANT
from serving.store.audit import Entry
from serving.store.profile import is_storable
from serving.store.volume import safe_name

router = APIRouter(tags=["audit"])

EVERYBODY = "*"


class AuditEntry(BaseModel):
    """One change; ``at`` in Unix seconds. ``outcome`` is unknown where the client left before the answer.

    ``actor`` is a key's id, `root`, `oidc:` and the token's subject, `cli:` and the user, or `anonymous`.
    """

    id: str
    object: Literal["audit.entry"] = "audit.entry"
    at: float
    tenant: str
    actor: str
    action: str
    object_id: str | None
    request_id: str | None
    outcome: Literal["succeeded", "failed", "denied", "unknown"]
    detail: dict[str, Any]


class AuditList(BaseModel):
    object: Literal["list"] = "list"
    data: list[AuditEntry]
    has_more: bool


@router.get("/v1/audit")
async def list_audit(
    context: Ctx,
    limit: Annotated[int, Query(ge=1, le=100, description="Most entries in the answer")] = 20,
    after: Annotated[str | None, Query(max_length=64, description="Id: those behind it, the next page")] = None,
    action: Annotated[str | None, Query(max_length=64, description="Only this one, such as voice.delete")] = None,
    object_id: Annotated[str | None, Query(max_length=255, description="Only what was done to this object")] = None,
    since: Annotated[Instant | None, Query(description="Only from this time on, with its zone")] = None,
    of: Annotated[
        str | None,
        Query(
            alias="tenant",
            min_length=1,
            max_length=64,
            description=f"Whose entries; default: your own. {DEFAULT_TENANT} may name another, or * for all",
        ),
    ] = None,
) -> AuditList:
    """Changes, newest first: who made which, and what came of it."""
    if not all(is_storable(text or "") for text in (after, action, object_id)):
        return AuditList(data=[], has_more=False)
    found = await asyncio.to_thread(
        context.audit.list, _tenant(of), limit + 1, after=after, action=action, object_id=object_id, since=since
    )
    return AuditList(data=[_card(entry) for entry in found[:limit]], has_more=len(found) > limit)


def _tenant(asked: str | None) -> str | None:
    """Whose entries are meant, None for everybody's. Raises Forbidden for another tenant's."""
    own = tenant()
    if asked is None or asked == own:
        return own
    if own != DEFAULT_TENANT or current.get() is None:
        raise Forbidden(f"tenant: you see what was done in {own} only", "tenant")
    return None if asked == EVERYBODY else safe_name(asked, "tenant")


def _card(entry: Entry) -> AuditEntry:
    return AuditEntry(
        id=entry.id,
        at=entry.at.timestamp(),
        tenant=entry.tenant,
        actor=entry.actor,
        action=entry.action,
        object_id=entry.object_id,
        request_id=entry.request_id,
        outcome=entry.outcome,
        detail=dict(entry.detail),
    )
