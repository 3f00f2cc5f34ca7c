"""``kubevoice launch``: run commands on the volume as Kubernetes Jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.context import settings_with
from serving.cli.terminal import FAILED, show_json, show_table
from serving.errors import InvalidRequest, Unavailable

if TYPE_CHECKING:
    from serving.launch import Launcher, Run

app = typer.Typer(
    name="launch", help="Run commands on the volume as Kubernetes Jobs.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(help="Name of the run.")]


@app.command(epilog="Example: kubevoice launch run check-1 --follow -- kubevoice doctor --deep")
def run(
    name: Annotated[str, typer.Argument(help="Name of the run and its Job: lower-case letters, digits, hyphens.")],
    command: Annotated[list[str], typer.Argument(help="The command and its arguments, after --.")],
    env: Annotated[list[str] | None, typer.Option(metavar="K=V", help="Environment variable; may be repeated.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; the exit code is the command's.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Wait, and print what the command writes.")] = False,
) -> None:
    """Start a command from the chart's Job template."""
    launcher = _launcher()
    started = launcher.start(name, command, env=_variables(env or []))
    typer.echo(f"{started.name} is started", err=True)
    if wait or follow:
        _attend(launcher, name, follow=follow)


@app.command("list", epilog="Example: kubevoice launch list --json")
def list_runs(as_json: Annotated[bool, typer.Option("--json", help="Print the runs as JSON.")] = False) -> None:
    """List the runs, oldest first."""
    runs = _launcher().runs()
    if as_json:
        keys = ("name", "state", "reason", "exit_code", "pod")
        show_json(
            [{**{key: getattr(run, key) for key in keys}, "created_at": run.created_at.isoformat()} for run in runs]
        )
        return
    rows = [(run.name, run.state, f"{run.created_at:%F %R}", run.reason) for run in runs]
    show_table(("name", "state", "created", "why"), rows, empty="no runs yet; see: kubevoice launch run")


@app.command(epilog="Example: kubevoice launch logs check-1 --follow")
def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", help="To the end; the exit code is the command's.")] = False,
) -> None:
    """Print what a run's last attempt has written."""
    launcher = _launcher()
    if follow:
        _attend(launcher, name, follow=True)
    else:
        _print(launcher.logs(name))


@app.command(epilog="Example: kubevoice launch stop check-1")
def stop(name: Name) -> None:
    """Stop a run and remove its Job; its files stay."""
    _launcher().stop(name)
    typer.echo(f"{name} is stopped")


def _launcher() -> Launcher:
    from serving.launch import Launcher, connect

    launch = settings_with().launch
    return Launcher(connect(launch.namespace), launch.template)


def _variables(given: Iterable[str]) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in given]
    for name, sign, _ in pairs:
        if not sign:
            raise InvalidRequest(f"--env {name}: write NAME=VALUE", param="env")
    return {name: value for name, _, value in pairs}


def _attend(launcher: Launcher, name: str, *, follow: bool) -> None:
    """Tell what happens to the run until it ends, then exit as its command did."""
    told = None
    try:
        for run in launcher.changes(name):
            typer.echo(_line(run), err=True)
            if follow and run.pod and run.pod != told:  # each attempt once
                told = run.pod
                _follow(launcher, name)
    except KeyboardInterrupt:
        typer.echo(f"{name} goes on; see: kubevoice launch logs {name} --follow, or launch stop {name}", err=True)
        raise
    if run.state == "failed":
        raise typer.Exit(run.exit_code or FAILED)


def _follow(launcher: Launcher, name: str) -> None:
    try:
        _print(launcher.logs(name, follow=True))
    except Unavailable as error:  # what became of the run matters more
        typer.echo(f"the rest of the log is missing: {error}", err=True)


def _line(run: Run) -> str:
    return f"{run.name} is {run.state}" + (f": {run.reason}" if run.reason else "")


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)
