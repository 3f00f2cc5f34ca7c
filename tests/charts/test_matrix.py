"""Every set of values of the matrix makes objects that Kubernetes, KubeRay and the operators take, and that fit."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import yaml
from helm_python import lint

from tests.charts import objects, references, restricted
from tests.charts.matrix import CASES
from tests.charts.rendering import CHART, NAMESPACE, Object, render, render_texts, with_database
from tests.charts.schemas.custom import KINDS, validate_custom
from tests.charts.schemas.kubernetes import validate_object
from tests.charts.schemas.rayservice import validate_rayservice

VERSIONS = ("1.29", "1.33", "1.37")
"""The oldest that the chart installs on, the newest that is known, and one between."""
INFORMATION = 1
"""Severity of what Helm's linter only remarks."""

CHECKS = (
    objects.bad_names,
    objects.repeated_names,
    objects.missing_labels,
    objects.bad_images,
    objects.missing_resources,
    objects.bad_quantities,
    references.dangling_mounts,
    references.idle_selectors,
    references.dead_backends,
    restricted.violations,
)


@functools.cache
def accepted(text: str) -> None:
    """Raise what the API servers of all versions or KubeRay would refuse; objects of many cases are the same."""
    item: Object = json.loads(text)
    for version in VERSIONS:
        if item["kind"] == "RayService":
            validate_rayservice(item, version)
        elif item["kind"] in KINDS:
            validate_custom(item)
        else:
            validate_object(item, version)


@pytest.mark.parametrize("case", CASES)
def test_every_object_is_accepted_and_fits_the_others(case: str) -> None:
    values = with_database(CASES[case])
    release = render(values, minimal=False)
    for item in objects.with_jobs(release):
        accepted(json.dumps(item, sort_keys=True))
    problems = [problem for check in CHECKS for problem in check(release)]
    assert problems + list(references.strangers(release, values)) == []


@pytest.mark.parametrize("case", CASES)
def test_helm_lints_it_without_a_warning(case: str) -> None:
    report = lint(CHART, values=with_database(CASES[case]), strict=True, namespace=NAMESPACE)
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > INFORMATION] == []


def test_the_matrix_reaches_every_template() -> None:
    used = {
        path
        for values in CASES.values()
        for path, text in render_texts(with_database(values)).items()
        if "\nkind: " in text
    }
    every = {path.relative_to(CHART / "templates").as_posix() for path in (CHART / "templates").rglob("*.yaml")}
    assert every - used == {"checks.yaml"}, "checks.yaml renders nothing"


def test_the_oldest_version_is_the_one_that_the_chart_names() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"] == f">={VERSIONS[0]}.0-0"


def test_every_template_has_a_test_file_of_its_own() -> None:
    here = Path(__file__).parent
    for path in sorted((CHART / "templates").rglob("*.yaml")):
        template = path.relative_to(CHART / "templates")
        name = f"test_{template.stem.replace('-', '_')}.py"
        assert (here / template.parent / name).is_file(), f"{template} has no tests/charts/{template.parent}/{name}"


def test_the_linter_would_find_a_mistake() -> None:
    assert "additional properties 'gpu' not allowed" in str(lint(CHART, values={"speech": {"gpu": 1}}, strict=True))
