"""``kubevoice reindex``."""

from __future__ import annotations

import typer

from serving.cli.context import Data, settings_with, voice_store


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: kubevoice reindex --data /data")(reindex)


def reindex(data: Data = None) -> None:
    """Rebuild the voice table from the files on the volume."""
    with voice_store(settings_with(data)) as voices:
        count = voices.reindex()
    typer.echo(f"{count} voices")
