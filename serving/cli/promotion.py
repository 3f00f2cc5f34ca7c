"""``kubevoice models promote`` and ``rollback``: which revision serves."""

from __future__ import annotations

from typing import Annotated

import typer

from serving.cli.auditing import audited
from serving.cli.context import Data, model_store, settings_with

Name = Annotated[str | None, typer.Option("--name", help="XTTS model on the volume (default: the setting xtts.model).")]


def promote(
    revision: Annotated[str | None, typer.Argument(help="A revision that `kubevoice models list` shows.")] = None,
    run: Annotated[
        str | None, typer.Option(metavar="TENANT/RUN", help="Publish what this training run exported last instead.")
    ] = None,
    name: Name = None,
    data: Data = None,
) -> None:
    """Make a revision the one that serves; running servers take it up within seconds, without a restart."""
    from serving.errors import InvalidRequest
    from serving.store.promotion import newest_export, promote_export

    settings = settings_with(data)
    models, name = model_store(settings), name or settings.xtts.model
    if (revision is None) == (run is None):
        raise InvalidRequest("name either a revision or --run TENANT/RUN", "revision")
    if run is not None:
        tenant, _, run_name = run.rpartition("/")
        model = promote_export(models, newest_export(models.volume, tenant or "default", run_name), name)
    else:
        assert revision is not None
        models.promote("xtts", name, revision)
        model = models.get("xtts", name, revision)
    audited(settings, "model.promote", f"{name}@{model.revision}", run=run)
    typer.echo(f"xtts/{name}@{model.revision} is current")


def rollback(
    revision: Annotated[
        str | None, typer.Argument(help="A revision that was current before.", show_default="the one before")
    ] = None,
    name: Name = None,
    data: Data = None,
) -> None:
    """Go back to the revision that served before; running servers take it up within seconds."""
    settings = settings_with(data)
    name = name or settings.xtts.model
    model = model_store(settings).rollback("xtts", name, revision)
    audited(settings, "model.rollback", f"{name}@{model.revision}")
    typer.echo(f"xtts/{name}@{model.revision} is current")


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: kubevoice models promote --run default/narrator")(promote)
    app.command(epilog="Example: kubevoice models rollback")(rollback)
