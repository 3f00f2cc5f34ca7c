"""The settings and stores that a command works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from serving.settings import Settings
    from serving.store.models import ModelStore
    from serving.store.voices import VoiceStore

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="The data directory (default: KUBEVOICE_DATA or ~/.kubevoice).",
        show_default=False,
    ),
]


def settings_with(data: Path | None = None, **overrides: Any) -> Settings:
    """The environment's settings with options on top; raises ConfigurationError."""
    from serving.logs import configure_logging
    from serving.settings import load_settings

    if data is not None:
        overrides["data"] = data
    settings = load_settings(overrides)
    if settings.log.level == "DEBUG":
        configure_logging(settings.log)
    return settings


def model_store(settings: Settings) -> ModelStore:
    from serving.store.models import ModelStore
    from serving.store.volume import Volume

    return ModelStore(Volume(settings.data))


@contextmanager
def voice_store(settings: Settings) -> Iterator[VoiceStore]:
    """The voices of the data directory, which is made and migrated if needed."""
    from serving.store.database import Database
    from serving.store.voices import VoiceStore
    from serving.store.volume import Volume

    volume = Volume(settings.data)
    volume.create()
    url = settings.database.url
    database = Database.for_volume(url.get_secret_value() if url else None, settings.data)
    try:
        database.migrate()
        yield VoiceStore(volume, database)
    finally:
        database.close()
