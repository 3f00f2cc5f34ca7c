"""``kubevoice models``: what is on the volume, and how it gets there."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from serving.cli.context import Data, model_store, settings_with
from serving.cli.terminal import confirm, show_json, show_table, transfers

app = typer.Typer(name="models", help="List and download model weights.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list", epilog="Example: kubevoice models list --json")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print the models as JSON.")] = False, data: Data = None
) -> None:
    """List every model revision on the volume; the one in use is marked."""
    models = model_store(settings_with(data)).list()
    if as_json:
        keys = ("kind", "name", "revision", "bytes", "current")
        show_json([{**{key: getattr(model, key) for key in keys}, "path": str(model.path)} for model in models])
        return
    rows = [
        (model.kind, model.name, model.revision, f"{model.bytes / 1e6:.1f} MB", "current" if model.current else "")
        for model in models
    ]
    show_table(("kind", "name", "revision", "size", ""), rows, empty="no models yet; see: kubevoice models pull")


@app.command(epilog="Example: kubevoice models pull --accept-licence")
def pull(
    name: Annotated[str | None, typer.Option(help="Name on the volume.", show_default="the setting xtts.model")] = None,
    repository: Annotated[str, typer.Option(help="Repository on the Hugging Face hub.")] = "coqui/XTTS-v2",
    revision: Annotated[str, typer.Option(help="Branch, tag or commit.")] = "main",
    accept_licence: Annotated[
        bool,
        typer.Option("--accept-licence", "--yes", "-y", help="Accept the weights' licence (or COQUI_TOS_AGREED=1)."),
    ] = False,
    data: Data = None,
) -> None:
    """Download XTTS weights, check them and make them current; an interrupted download is resumed.

    HF_ENDPOINT, HF_TOKEN and the proxy variables are honoured.
    """
    from serving.store import hub

    settings = settings_with(data)
    typer.echo(f"licence of the weights: {hub.XTTS_LICENCE} ({hub.XTTS_LICENCE_URL})", err=True)
    if not accept_licence and os.environ.get("COQUI_TOS_AGREED") != "1":
        confirm("Do you accept it?", "--accept-licence")
    with transfers() as progress:
        result = hub.pull(
            model_store(settings),
            accept_licence=True,
            name=name or settings.xtts.model,
            repository=repository,
            revision=revision,
            progress=progress,
        )
    model, done = result.model, "is ready" if result.downloaded else "is there already and intact"
    typer.echo(f"{model.kind}/{model.name}@{model.revision} {done}: {model.path}")
