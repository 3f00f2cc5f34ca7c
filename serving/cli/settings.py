"""``kubevoice settings``: every setting with its value, and the table of docs/settings.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.context import settings_with
from serving.cli.terminal import show_json, show_table

if TYPE_CHECKING:
    from serving.settings import Settings


def register(app: typer.Typer) -> None:
    app.command("settings", epilog="Example: KUBEVOICE_ENGINE=espeak kubevoice settings")(show)


def show(
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the defaults as the docs' table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print names and values as JSON.")] = False,
) -> None:
    """Show every setting and its value; secrets are masked."""
    from serving.settings import setting_rows

    if as_markdown:
        typer.echo(markdown())
        return
    settings = settings_with()
    rows = [(variable, value_of(settings, variable), description) for variable, _, description in setting_rows()]
    if as_json:
        show_json({variable: value for variable, value, _ in rows})
    else:
        show_table(("variable", "value", "meaning"), rows, empty="")


def value_of(settings: Settings, variable: str) -> str:
    """The value in effect of ``variable`` (``KUBEVOICE_HTTP__PORT``), as text; a secret as asterisks."""
    from serving.settings import DELIMITER, PREFIX

    value: object = settings
    for name in variable.removeprefix(PREFIX).lower().split(DELIMITER):
        value = getattr(value, name)
    return "" if value is None else str(value)


def markdown() -> str:
    """The table of docs/settings.md."""
    from serving.settings import SEED_NAMES, setting_rows

    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for variable, default, description in setting_rows():
        shown = f"`{default}`" if default else ""
        lines.append(f"| `{variable}` | {shown} | {description.replace('|', chr(92) + '|')} |")
    aliases = ", ".join(f"`{old}` for `{path}`" for old, path in SEED_NAMES.items())
    return "\n".join([*lines, "", f"Names of the original system that keep working: {aliases}."])
