"""``kubevoice reindex``."""

from __future__ import annotations

import typer

from serving.cli.context import Data, settings_with, voice_store


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: kubevoice reindex --data /data")(reindex)


def reindex(data: Data = None) -> None:
    """Make the records of voices, conversion models, datasets and training runs again from the files on the volume."""
    from serving.store.conversion_models import ConversionModelStore
    from serving.store.datasets import DatasetStore
    from serving.store.training_runs import TrainingRunStore

    with voice_store(settings_with(data)) as voices:
        parts = voices.volume, voices.database
        count, models = voices.reindex(), ConversionModelStore(*parts).reindex()
        datasets, runs = DatasetStore(*parts).reindex(), TrainingRunStore(*parts).reindex()
    for sentence in (*datasets.skipped, *runs.skipped):
        typer.echo(sentence, err=True)
    typer.echo(f"{count} voices, {models} conversion models, {datasets.count} datasets, {runs.count} training runs")
