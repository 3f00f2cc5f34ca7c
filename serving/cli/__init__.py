"""``kubevoice``: serve, speak, look after voices and models, and find out what is wrong.

ray, torch and TTS take seconds to import, so every command imports what it needs when it runs.
"""

from __future__ import annotations

from typing import Annotated

import typer

from serving import __version__
from serving.cli import (
    audit,
    check,
    doctor,
    drain,
    keys,
    launch,
    models,
    reindex,
    say,
    serve,
    settings,
    tensorboard,
    voices,
)
from serving.cli.terminal import Commands

app = typer.Typer(
    name="kubevoice",
    cls=Commands,
    help="Speech and voice conversion on Ray Serve.",
    epilog='Example: kubevoice say "Hello." -o hello.mp3',
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"kubevoice {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """The options of ``kubevoice`` itself."""


for group in (serve, say, check, drain, doctor, settings, reindex, audit, tensorboard):
    group.register(app)
app.add_typer(voices.app)
app.add_typer(keys.app)
app.add_typer(models.app)
app.add_typer(launch.app)


def main() -> None:
    """Entry point of the ``kubevoice`` command."""
    app(prog_name="kubevoice")
