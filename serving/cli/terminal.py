"""What the commands share: errors as sentences, tables, progress, questions."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from serving.errors import ConfigurationError, InvalidRequest, KubevoiceError, RequestError

FAILED, USAGE = 1, 2


class Commands(TyperGroup):
    """Ends with ``error: <sentence>`` and an exit code where a KubevoiceError comes up; other errors are bugs."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KubevoiceError as error:
            if os.environ.get("KUBEVOICE_LOG__LEVEL") == "DEBUG":
                traceback.print_exc()
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(USAGE if isinstance(error, RequestError | ConfigurationError) else FAILED) from None


def show_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """A table on a terminal, tab-separated lines in a pipe; ``empty`` goes to standard error if there are no rows."""
    if not rows:
        typer.echo(empty, err=True)
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns, box=None, header_style="bold")
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
    else:
        for row in rows:
            typer.echo("\t".join(row))


def confirm(question: str, option: str) -> None:
    """Ask; raises InvalidRequest that names ``option`` when there is nobody to ask, and exits when the answer is no."""
    if not sys.stdin.isatty():
        raise InvalidRequest(f"there is no terminal to ask on; add {option}", param=option)
    if not typer.confirm(question, err=True):
        typer.echo("nothing was changed", err=True)
        raise typer.Exit(FAILED)


@contextmanager
def working(text: str) -> Iterator[None]:
    """A spinner on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


@contextmanager
def transfers() -> Iterator[Callable[[str, int, int], None]]:
    """A function to tell (file, bytes so far, size): bars on a terminal, a line per quarter of a file in a pipe."""
    if not sys.stderr.isatty():
        yield _transfer_lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        tasks: dict[str, Any] = {}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done)

        yield report


def _transfer_lines() -> Callable[[str, int, int], None]:
    shown: dict[str, int] = {}

    def report(name: str, done: int, total: int) -> None:
        quarter = 4 * done // max(total, 1)
        if quarter > shown.get(name, 0):
            shown[name] = quarter
            typer.echo(f"{name}: {25 * quarter} % of {total / 1e6:.1f} MB", err=True)

    return report
