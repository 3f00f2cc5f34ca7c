"""``kubevoice keys``: make, list and revoke API keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.auditing import audited
from serving.cli.context import Data, settings_with, voice_store
from serving.cli.terminal import confirm, show_json, show_table
from serving.errors import InvalidRequest

if TYPE_CHECKING:
    from serving.settings import Settings
    from serving.store.api_keys import ApiKey, ApiKeyStore

app = typer.Typer(name="keys", help="Make, list and revoke API keys.", no_args_is_help=True, rich_markup_mode=None)

DURATION = re.compile(r"([1-9][0-9]{0,4})([hd])")


@app.command(
    epilog="Example: kubevoice keys create --name laptop --scope speech --expires 90d --limit requests_per_minute=60"
)
def create(
    name: Annotated[str, typer.Option(help="What the key is for.")],
    tenant: Annotated[str, typer.Option(help="Whose voices, models and datasets it is for.")] = "default",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="speech, voices, training or admin; may be repeated.", show_default="speech"),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 12h, 90d, or a date such as 2027-01-31.", show_default="never")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="A quota of this key, such as requests_per_minute=60, also characters and audio_seconds, per day too; "
            "may be repeated.",
            show_default="none",
        ),
    ] = None,
    data: Data = None,
) -> None:
    """Make a key and print it: it cannot be shown again. From the first key on, every request needs one."""
    until = None if expires is None else _time(expires)
    settings = settings_with(data)
    with _key_store(settings) as keys:
        key, text = keys.create(tenant, name, scope or ["speech"], until, _limits(limit or []))
    audited(settings, "key.create", key.id, tenant, scopes=sorted(key.scopes))
    ends = f"until {key.expires_at:%F %R} UTC" if key.expires_at else "for ever"
    may = ", ".join(sorted(key.scopes))
    typer.echo(f"{key.id} of {key.tenant} for {may}, {ends}; keep it, it is shown once:", err=True)
    typer.echo(text)


@app.command("list", epilog="Example: kubevoice keys list --tenant acme")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only the keys of this tenant.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the keys as JSON.")] = False,
    data: Data = None,
) -> None:
    """List the keys, oldest first; of each there is only how it ends."""
    with _key_store(settings_with(data)) as store:
        keys = store.list(tenant)
    if as_json:
        show_json([_facts(key) for key in keys])
        return
    rows = [
        (
            key.id,
            key.tenant,
            key.name,
            f"...{key.hint}",
            " ".join(sorted(key.scopes)),
            key.state,
            _day(key.expires_at),
            " ".join(f"{name}={most}" for name, most in key.limits.items()),
        )
        for key in keys
    ]
    show_table(
        ("id", "tenant", "name", "key", "scopes", "state", "expires", "limits"),
        rows,
        empty="no keys yet: nobody is asked for one; see: kubevoice keys create",
    )


@app.command(epilog="Example: kubevoice keys revoke key_0123456789abcdef --yes")
def revoke(
    key: Annotated[str, typer.Argument(help="Id of the key.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data: Data = None,
) -> None:
    """Let a key work no more, within seconds and for ever."""
    settings = settings_with(data)
    with _key_store(settings) as keys:
        found = keys.get(None, key)
        if not yes:
            confirm(f"Revoke key {found.name!r} ({found.id}) of {found.tenant}?", "--yes")
        keys.revoke(None, found.id)
    audited(settings, "key.revoke", found.id, found.tenant)
    typer.echo(f"revoked {found.name} ({found.id})")


@contextmanager
def _key_store(settings: Settings) -> Iterator[ApiKeyStore]:
    from serving.store.api_keys import ApiKeyStore

    pepper = settings.auth.pepper
    with voice_store(settings) as voices:
        yield ApiKeyStore(voices.database, settings.data, pepper.get_secret_value() if pepper else None)


def _time(text: str) -> datetime:
    """The end that ``text`` says; a date ends with its day, in UTC."""
    if match := DURATION.fullmatch(text):
        return datetime.now(UTC) + int(match[1]) * (timedelta(hours=1) if match[2] == "h" else timedelta(days=1))
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"--expires {text!r} is no time; give 12h, 90d, or a date such as 2027-01-31", "--expires"
        ) from None


def _limits(texts: list[str]) -> dict[str, int]:
    found = {}
    for text in texts:
        name, _, most = text.partition("=")
        if not re.fullmatch(r"[1-9][0-9]{0,12}", most) or name in found:
            raise InvalidRequest(f"--limit {text!r}: write it once, as requests_per_minute=60", "--limit")
        found[name] = int(most)
    return found


def _day(time: datetime | None) -> str:
    return "never" if time is None else f"{time:%F %R}"


def _facts(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "hint": key.hint,
        "scopes": sorted(key.scopes),
        "state": key.state,
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "limits": dict(key.limits),
    }
