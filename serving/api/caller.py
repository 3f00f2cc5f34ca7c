"""Who asks: set by the guard for the time of a request, read by everything that works for it.

Tasks and ``asyncio.to_thread`` take it along, and so does ``launching``; other threads do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from serving.selection import DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a key; ``limits`` are quotas of that key alone."""

    key_id: str
    tenant: str
    scopes: frozenset[str]
    limits: Mapping[str, int] = field(default_factory=dict)


RECHECK = "kubevoice.recheck"
"""Key of a scope: an async function that raises Unauthenticated or Forbidden once the key of the request works no more.

Not there where no key was asked for. What answers for hours has to call it.
"""

current: ContextVar[Caller | None] = ContextVar("caller", default=None)
"""None where keys are not asked for."""


def tenant() -> str:
    """Whose voices, models, profiles, datasets and runs there are for this request."""
    caller = current.get()
    return DEFAULT_TENANT if caller is None else caller.tenant
