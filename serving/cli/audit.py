"""``kubevoice audit``: who changed what, from the database."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.auditing import audit_store
from serving.cli.context import Data, settings_with
from serving.cli.terminal import show_json, show_table
from serving.errors import InvalidRequest

if TYPE_CHECKING:
    from serving.store.audit import Entry

AGO = re.compile(r"([1-9][0-9]{0,4})([mhd])")
UNITS = {"m": "minutes", "h": "hours", "d": "days"}
MOST = 10_000
"""Most entries of one answer; `--since` and `--tenant` say which."""


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: kubevoice audit --since 7d --tenant acme --action voice.delete")(audit)


def audit(
    since: Annotated[
        str | None,
        typer.Option(help="From when on: 30m, 12h or 7d ago, or a time such as 2027-01-31.", show_default="ever"),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only what was done in this tenant.", show_default="all")] = None,
    action: Annotated[str | None, typer.Option(help="Only this, such as voice.delete.", show_default="all")] = None,
    object_id: Annotated[
        str | None, typer.Option("--object", help="Only what was done to this id.", show_default="all")
    ] = None,
    limit: Annotated[int, typer.Option(help="Most entries.", min=1, max=MOST)] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print the entries as JSON, with their details.")] = False,
    data: Data = None,
) -> None:
    """List the audit log, newest first: when, by whom, what, to which object, and what came of it."""
    first = None if since is None else _since(since)
    with audit_store(settings_with(data), migrate=True) as store:
        found = [] if store is None else store.list(tenant, limit, action=action, object_id=object_id, since=first)
    if as_json:
        show_json([_facts(entry) for entry in found])
        return
    rows = [
        (f"{entry.at:%F %T}", entry.tenant, entry.actor, entry.action, entry.object_id or "", _outcome(entry))
        for entry in found
    ]
    show_table(("at (UTC)", "tenant", "actor", "action", "object", "outcome"), rows, empty="no entries")


def _since(text: str) -> datetime:
    """The time that ``text`` means; in UTC where it does not say its zone."""
    try:
        if match := AGO.fullmatch(text):
            return datetime.now(UTC) - timedelta(**{UNITS[match[2]]: int(match[1])})
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"--since {text!r} is no time; give 30m, 12h, 7d, or a time such as 2027-01-31 or 2027-01-31T08:00",
            "--since",
        ) from None


def _outcome(entry: Entry) -> str:
    """With the status of what failed, and how often where one entry stands for many."""
    more = [str(entry.detail[key]) for key in ("status", "code") if entry.outcome == "failed" and entry.detail.get(key)]
    more += [f"x{entry.detail['count']}"] if "count" in entry.detail else []
    return " ".join([entry.outcome, *more])


def _facts(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": entry.at.isoformat(),
        "tenant": entry.tenant,
        "actor": entry.actor,
        "action": entry.action,
        "object_id": entry.object_id,
        "request_id": entry.request_id,
        "outcome": entry.outcome,
        "detail": dict(entry.detail),
    }
