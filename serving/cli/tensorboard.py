"""``kubevoice tensorboard``."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.cli.context import Data, settings_with


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: kubevoice tensorboard --port 6007")(tensorboard)


def tensorboard(
    host: Annotated[str, typer.Option(help="Address to listen on; there is no login.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.")] = 6006,
    reload_s: Annotated[
        int, typer.Option("--reload", metavar="SECONDS", help="Time between two looks for new figures.", min=1)
    ] = 5,
    data: Data = None,
) -> None:
    """Show the curves and samples of every training run until Ctrl-C."""
    from serving.local import usable_port

    settings = settings_with(data, http={"host": host, "port": port})
    usable_port(settings)  # TensorBoard itself ends without a sentence where it cannot listen
    folder = settings.data / "training"
    signal.signal(signal.SIGTERM, _stop)
    try:
        typer.echo(f"{folder}: {_launch(folder, host, port, reload_s)}")
        threading.Event().wait()
    except KeyboardInterrupt:
        _stop()


def _stop(*_: object) -> None:
    raise typer.Exit


def _launch(folder: Path, host: str, port: int, reload_s: int) -> str:
    """Serve the runs below ``folder`` from threads, also those that are yet to begin, and return the address.

    A run is named by its path, ``<tenant>/<run>/tensorboard``.
    """
    from tensorboard import program
    from tensorboard.data import server_ingester

    try:
        server_ingester.get_server_binary()
        reader = "true"  # in Rust, a process of its own that ends with this one
    except server_ingester.NoDataServerError:
        reader = "false"
    board: Any = program.TensorBoard()
    board.configure(
        logdir=str(folder),
        host=host,
        port=port,
        reload_interval=reload_s,
        reload_multifile=True,  # a run that goes on after a stop begins another file
        load_fast=reader,
    )
    return str(board.launch())
