"""What the command line changes is in the audit log too."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.settings import Settings
    from serving.store.audit import AuditStore


@contextmanager
def audit_store(settings: Settings, *, migrate: bool = False) -> Iterator[AuditStore | None]:
    """The audit log, its table made first if ``migrate``; None where there is no database: then none is made."""
    from serving.store.audit import AuditStore
    from serving.store.database import SQLITE_FILE, Database

    url = settings.database.url
    if url is None and not (settings.data / SQLITE_FILE).is_file():
        yield None
        return
    database = Database.for_volume(url.get_secret_value() if url else None, settings.data)
    try:
        if migrate:
            database.migrate()
        yield AuditStore(database)
    finally:
        database.close()


def audited(settings: Settings, action: str, object_id: str, tenant: str | None = None, **detail: object) -> None:
    """Write down that the user of this machine has done ``action``; where there is no database, only in the log."""
    from serving.selection import DEFAULT_TENANT
    from serving.store.audit import Entry, say

    entry = Entry(tenant or DEFAULT_TENANT, f"cli:{_user()}", action, "succeeded", object_id, detail)
    with audit_store(settings) as store:
        if store is None:
            say(entry)
        else:
            store.record(entry)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"  # a container's user need not have a name
