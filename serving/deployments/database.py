"""The database of a replica."""

from __future__ import annotations

from serving.settings import Settings, load_settings
from serving.store.database import Database


def open_database(settings: Settings) -> Database:
    """The migrated database of ``settings``, or of this process's environment: see ``serving.app``."""
    url = settings.database.url or load_settings().database.url
    database = Database.for_volume(url.get_secret_value() if url else None, settings.data)
    database.migrate()
    return database
