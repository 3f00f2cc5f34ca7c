"""The doctor's report."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from serving.cli import app


def doctor(tmp_path: Path, *arguments: str, **environment: str) -> Result:
    return CliRunner(env={"KUBEVOICE_DATA": str(tmp_path), **environment}).invoke(app, ["doctor", *arguments])


def test_a_machine_without_weights_is_fit_and_the_warning_says_how_to_get_them(tmp_path: Path) -> None:
    result = doctor(tmp_path)
    assert result.exit_code == 0, result.output
    assert "warning weights" in result.stdout
    assert "-> kubevoice models pull" in result.stdout


def test_a_failure_is_exit_code_1_and_json_carries_the_findings(tmp_path: Path) -> None:
    result = doctor(tmp_path, "--json", KUBEVOICE_ENGINE="xtts")
    assert result.exit_code == 1
    findings = {check["name"]: check for check in json.loads(result.stdout)}
    assert findings["weights"]["status"] == "failed"
    assert findings["weights"]["remedy"]
    assert findings["embedded voice"]["status"] == "ok"
