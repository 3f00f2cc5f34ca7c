"""The alerts: each fires when it should and only then (promtool), has a runbook, and names metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.alert_cases import FIRES, MORE_FIRES, MORE_QUIET, QUIET, Case
from tests.charts.rendering import CHART, one, render

RUNBOOKS = CHART.parents[1] / "docs" / "runbooks"
FILES = sorted((CHART / "alerts").glob("*.yaml"))
RULES = {
    rule["alert"]: rule
    for path in FILES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt install prometheus)"
)


def ask(case: Case, alert: str, firing: bool, folder: Path) -> subprocess.CompletedProcess[str]:
    """promtool's verdict on whether ``alert`` fires (or not) at the case's minute."""
    question = {
        "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})',
        "eval_time": f"{case.minute}m",
        "exp_samples": [{"labels": "{}", "value": 1}] if firing else [],
    }
    test = {
        "rule_files": [str(path) for path in FILES],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
                "promql_expr_test": [question],
            }
        ],
    }
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump(test))
    return subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, timeout=60, check=False)


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    assert set(FIRES) == set(RULES)
    assert set(QUIET) == set(RULES)


@needs_promtool
@pytest.mark.parametrize("alert", sorted(RULES))
def test_it_fires_when_it_should(alert: str, tmp_path: Path) -> None:
    verdict = ask(FIRES[alert], alert, True, tmp_path)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@needs_promtool
@pytest.mark.parametrize("alert", sorted(RULES))
def test_it_does_not_fire_when_it_should_not(alert: str, tmp_path: Path) -> None:
    verdict = ask(QUIET[alert], alert, False, tmp_path)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@needs_promtool
@pytest.mark.parametrize("name", MORE_FIRES)
def test_it_fires_for_what_else_is_as_bad(name: str, tmp_path: Path) -> None:
    alert, case = MORE_FIRES[name]
    verdict = ask(case, alert, True, tmp_path)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@needs_promtool
@pytest.mark.parametrize("name", MORE_QUIET)
def test_it_does_not_fire_for_what_only_looks_bad(name: str, tmp_path: Path) -> None:
    alert, case = MORE_QUIET[name]
    verdict = ask(case, alert, False, tmp_path)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@needs_promtool
def test_a_failed_run_rings_for_an_hour_and_not_as_long_as_its_job_is_kept(tmp_path: Path) -> None:
    alert = "KubevoiceTrainingFailed"
    for minute, firing in ((60, True), (80, False)):
        verdict = ask(Case(FIRES[alert].series, minute), alert, firing, tmp_path)
        assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@needs_promtool
def test_the_rendered_rules_are_rules(tmp_path: Path) -> None:
    rule = one(render({"monitoring": {"rules": {"enabled": True}}}), "PrometheusRule")
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rule["spec"]))
    verdict = subprocess.run(
        ["promtool", "check", "rules", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert verdict.returncode == 0, verdict.stderr
    assert f"{len(RULES)} rules found" in verdict.stdout


@pytest.mark.parametrize("alert", sorted(RULES))
def test_it_says_how_bad_it_is_and_what_to_do(alert: str) -> None:
    rule = RULES[alert]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["for"]
    assert len(rule["annotations"]["summary"]) < 90
    assert "{{ $labels.namespace }}" in rule["annotations"]["description"]


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("Kubevoice*.md")} == set(RULES)
    index = (RUNBOOKS / "README.md").read_text()
    assert set(re.findall(r"\]\((Kubevoice\w+)\.md\)", index)) == set(RULES)


@pytest.mark.parametrize("alert", sorted(RULES))
def test_a_runbook_has_what_one_needs_at_night(alert: str) -> None:
    text = (RUNBOOKS / f"{alert}.md").read_text()
    for part in ("## What it means", "## What callers notice", "## First", "## Causes", "## Why this threshold"):
        assert part in text, part
    assert "```sh" in text


def test_an_alert_that_is_switched_off_is_left_out() -> None:
    values: dict[str, Any] = {"monitoring": {"rules": {"enabled": True, "disabled": ["KubevoiceSlowColdStart"]}}}
    groups = one(render(values), "PrometheusRule")["spec"]["groups"]
    assert {rule["alert"] for group in groups for rule in group["rules"]} == set(RULES) - {"KubevoiceSlowColdStart"}
