"""The schemas of the Prometheus operator's and the Gateway API's objects take what is right and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from tests.charts.matrix.features import EVERYTHING
from tests.charts.rendering import Object, render
from tests.charts.schemas.custom import KINDS, validate_custom


@pytest.fixture(scope="module")
def made() -> dict[str, Object]:
    return {item["kind"]: item for item in render(EVERYTHING) if item["kind"] in KINDS}


BROKEN: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "a field of another name": ("PodMonitor", lambda spec: spec.update(podMetricEndpoints=[])),
    "a port by number": ("PodMonitor", lambda spec: spec["podMetricsEndpoints"][0].update(port=8080)),
    "an interval without a unit": ("PodMonitor", lambda spec: spec["podMetricsEndpoints"][0].update(interval="15")),
    "a monitor of nothing": ("PodMonitor", lambda spec: spec["podMetricsEndpoints"].clear()),
    "a rule without an expression": ("PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].pop("expr")),
    "a rule without a name": ("PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].pop("alert")),
    "a label that is a number": (
        "PrometheusRule",
        lambda spec: spec["groups"][0]["rules"][0].setdefault("labels", {}).update(severity=1),
    ),
    "a route without a Gateway": ("HTTPRoute", lambda spec: spec["parentRefs"].clear()),
    "a route to no port": ("HTTPRoute", lambda spec: spec["rules"][0]["backendRefs"][0].pop("port")),
    "a timeout as a number": ("HTTPRoute", lambda spec: spec["rules"][0]["timeouts"].update(request=300)),
    "a host with a path": ("HTTPRoute", lambda spec: spec["hostnames"].append("speech.example.org/v1")),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_the_chart_makes_is_taken(kind: str, made: dict[str, Object]) -> None:
    validate_custom(made[kind])


@pytest.mark.parametrize("what", BROKEN)
def test_it_is_refused(what: str, made: dict[str, Object]) -> None:
    kind, spoil = BROKEN[what]
    item = copy.deepcopy(made[kind])
    spoil(item["spec"])
    with pytest.raises(jsonschema.ValidationError):
        validate_custom(item)
