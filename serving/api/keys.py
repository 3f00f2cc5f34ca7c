"""``/v1/keys``: make, list, show and revoke API keys."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from serving.api.caller import current
from serving.api.context import Ctx
from serving.api.instants import Instant
from serving.errors import Forbidden
from serving.selection import DEFAULT_TENANT
from serving.settings_groups import Limits
from serving.store.api_keys import ApiKey
from serving.store.volume import safe_name

router = APIRouter(tags=["keys"])

Tenant = Annotated[str, StringConstraints(min_length=1, max_length=64)]
OfTenant = Annotated[
    Tenant | None, Query(description=f"Whose keys; default: your own. Only {DEFAULT_TENANT} may name another")
]


class KeyBody(BaseModel):
    """Body of ``POST /v1/keys``."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "app", "scopes": ["speech"]}]})

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(description="What the key is for")
    scopes: list[Literal["speech", "voices", "training", "admin"]] = Field(min_length=1, max_length=4)
    tenant: Tenant | None = Field(None, description=f"Default: your own. Only {DEFAULT_TENANT} may name another")
    expires_at: Instant | None = Field(None, description="When it ends, with its zone; default: never")
    limits: Limits = Field(Limits(), description="Quotas of this key alone, beside those of its tenant")


class KeyCard(BaseModel):
    """One key; times in Unix seconds. ``hint`` is how its text ends."""

    id: str
    object: Literal["key"] = "key"
    tenant: str
    name: str
    hint: str
    scopes: list[str]
    state: Literal["active", "expired", "revoked"]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    limits: dict[str, int]


class NewKeyCard(KeyCard):
    """With ``key``, the text to send, which is told this once."""

    key: str


class KeyList(BaseModel):
    object: Literal["list"] = "list"
    data: list[KeyCard]


@router.post("/v1/keys")
async def create_key(body: KeyBody, context: Ctx) -> NewKeyCard:
    """Make a key. The first of a server is made on it, by `kubevoice keys create`."""
    tenant = _tenant(body.tenant)
    limits = body.limits.model_dump(exclude_none=True)
    made, text = await asyncio.to_thread(context.keys.create, tenant, body.name, body.scopes, body.expires_at, limits)
    return NewKeyCard(**_card(made).model_dump(), key=text)


@router.get("/v1/keys")
async def list_keys(context: Ctx, tenant: OfTenant = None) -> KeyList:
    """The keys of a tenant, oldest first, also those that work no more."""
    return KeyList(data=[_card(key) for key in await asyncio.to_thread(context.keys.list, _tenant(tenant))])


@router.get("/v1/keys/{key}")
async def get_key(key: str, context: Ctx, tenant: OfTenant = None) -> KeyCard:
    """One key, by its id."""
    return _card(await asyncio.to_thread(context.keys.get, _tenant(tenant), key))


@router.delete("/v1/keys/{key}")
async def revoke_key(key: str, context: Ctx, tenant: OfTenant = None) -> KeyCard:
    """Let a key work no more, within seconds and for ever; it stays in the list."""
    return _card(await asyncio.to_thread(context.keys.revoke, _tenant(tenant), key))


def _tenant(asked: str | None) -> str:
    """Whose keys are meant. Raises Forbidden for another tenant's, and where nobody has to say who they are."""
    caller = current.get()
    if caller is None:
        raise Forbidden("keys are managed over HTTP with a key; make the first with kubevoice keys create", "tenant")
    if asked is None or asked == caller.tenant:
        return caller.tenant
    if caller.tenant != DEFAULT_TENANT:
        raise Forbidden(f"tenant: your key manages the keys of {caller.tenant} only", "tenant")
    return safe_name(asked, "tenant")


def _card(key: ApiKey) -> KeyCard:
    return KeyCard.model_validate(
        {
            "id": key.id,
            "tenant": key.tenant,
            "name": key.name,
            "hint": key.hint,
            "scopes": sorted(key.scopes),
            "state": key.state,
            "created_at": int(key.created_at.timestamp()),
            "expires_at": key.expires_at and int(key.expires_at.timestamp()),
            "revoked_at": key.revoked_at and int(key.revoked_at.timestamp()),
            "limits": dict(key.limits),
        }
    )
