"""``kubevoice doctor``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.context import Data, settings_with
from serving.cli.terminal import FAILED, show_json, working

if TYPE_CHECKING:
    from serving.doctor import Check

COLOURS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "failed": typer.colors.RED}


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: kubevoice doctor --deep")(doctor)


def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Hash the weights, which reads gigabytes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    data: Data = None,
) -> None:
    """Check this machine; exit code 1 if something failed."""
    from serving.doctor import examine

    findings: list[Check] = []
    checks = examine(settings_with(data), deep=deep)
    while True:
        with working("checking"):
            check = next(checks, None)
        if check is None:
            break
        findings.append(check)
        if not as_json:
            _show(check)
    if as_json:
        show_json([asdict(check) for check in findings])
    if any(check.status == "failed" for check in findings):
        raise typer.Exit(FAILED)


def _show(check: Check) -> None:
    status = f"{check.status:8}"
    if sys.stdout.isatty():
        status = typer.style(status, fg=COLOURS[check.status], bold=True)
    typer.echo(f"{status}{check.name:16}{check.detail}")
    if check.remedy and check.status != "ok":
        typer.echo(f"{'':24}-> {check.remedy}")
