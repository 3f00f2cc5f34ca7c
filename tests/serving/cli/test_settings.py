"""The settings table."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from serving.cli import app
from serving.settings import setting_rows


def test_every_setting_is_shown_with_its_value_and_secrets_are_masked(tmp_path: Path) -> None:
    url = "postgresql+psycopg://kubevoice:hunter2@db/kubevoice"
    environment = {"KUBEVOICE_DATA": str(tmp_path), "KUBEVOICE_HTTP__PORT": "9", "KUBEVOICE_DATABASE__URL": url}

    plain = CliRunner(env=environment).invoke(app, ["settings"])
    values = json.loads(CliRunner(env=environment).invoke(app, ["settings", "--json"]).stdout)

    assert list(values) == [variable for variable, _, _ in setting_rows()]
    assert values["KUBEVOICE_DATA"] == str(tmp_path)
    assert values["KUBEVOICE_HTTP__PORT"] == "9"
    assert values["KUBEVOICE_DATABASE__URL"] == "**********"
    assert "hunter2" not in plain.output
    assert "KUBEVOICE_HTTP__PORT\t9\t" in plain.stdout


def test_the_markdown_table_has_the_defaults_of_every_setting_whatever_this_machine_sets() -> None:
    here = CliRunner(env={"KUBEVOICE_HTTP__PORT": "9"}).invoke(app, ["settings", "--markdown"])
    assert here.exit_code == 0
    lines = here.stdout.splitlines()
    assert lines[:2] == ["| variable | default | meaning |", "|---|---|---|"]
    for variable, default, description in setting_rows():
        (line,) = [line for line in lines if f"`{variable}`" in line]
        assert description.replace("|", "\\|") in line
        assert not default or f"`{default}`" in line
    assert "`XTTS_DEVICE` for `xtts.device`" in lines[-1]
