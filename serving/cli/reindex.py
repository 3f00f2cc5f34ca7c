"""``kubevoice reindex``."""

from __future__ import annotations

import typer

from serving.cli.context import Data, settings_with, voice_store


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: kubevoice reindex --data /data")(reindex)


def reindex(data: Data = None) -> None:
    """Rebuild the tables of voices and conversion models from the files on the volume."""
    from serving.store.conversion_models import ConversionModelStore

    with voice_store(settings_with(data)) as voices:
        count = voices.reindex()
        models = ConversionModelStore(voices.volume, voices.database).reindex()
    typer.echo(f"{count} voices, {models} conversion models")
