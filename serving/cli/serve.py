"""``kubevoice serve``."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from serving.cli.context import Data, settings_with


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: kubevoice serve --port 8080 --engine espeak")(serve)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 picks a free one.", show_default="8000")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="auto, xtts or espeak.", show_default="auto")] = None,
    data: Data = None,
    allow_unauthenticated: Annotated[
        bool,
        typer.Option("--allow-unauthenticated", help="Listen beyond loopback although no API keys are configured."),
    ] = False,
) -> None:
    """Serve speech over HTTP until Ctrl-C."""
    options = {"host": host, "port": port, "allow_unauthenticated": allow_unauthenticated or None}
    http = {name: value for name, value in options.items() if value is not None}
    overrides: dict[str, Any] = {"http": http, **({"engine": engine} if engine is not None else {})}
    if sys.stderr.isatty() and "KUBEVOICE_LOG__FORMAT" not in os.environ:
        overrides["log"] = {"format": "text"}
    settings = settings_with(data, **overrides)
    from serving.local import run

    run(settings)
