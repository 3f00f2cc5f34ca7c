"""The metrics that the chart's dashboards and alerts ask Prometheus for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.charts.rendering import CHART

HARDWARE = {
    "ray_node_gpus_utilization",
    "ray_node_gram_used",
    "ray_node_gram_available",
    "ray_node_gpu_power_milliwatts",
    "ray_node_gpu_temperature_celsius",
}
"""What only a node with a real GPU exports; that Ray declares them is proven in test_dashboards.py."""

KUBE_STATE = {"kube_job_failed", "kube_pod_owner", "kube_pod_container_info"}
"""What kube-state-metrics exports by default, https://github.com/kubernetes/kube-state-metrics/tree/main/docs/metrics."""

KEYWORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "group_left", "group_right"}
CLAUSES = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
"""Grouping and matching clauses: what is in their brackets are labels."""


def names_in_use() -> set[str]:
    """Names of all series that dashboards and alerts read; of a histogram its ``_bucket`` or ``_count``."""
    return {name for expression in expressions() for name in names(expression)}


def names(expression: str) -> set[str]:
    """Names of the series in a PromQL expression, in which Grafana's variables may stand for labels' values.

    Comments, strings, selectors and ranges go first, then the clauses that hold labels; of the words that are left,
    those before an opening bracket are functions.
    """
    assert "__name__" not in expression, "a name in a selector is not seen here"
    for pattern in (r"#[^\n]*", r'"(?:\\.|[^"\\])*"', r"'(?:\\.|[^'\\])*'", r"\{[^}]*\}", r"\[[^\]]*\]"):
        expression = re.sub(pattern, " ", expression)
    expression = re.sub(CLAUSES, " ", expression, flags=re.IGNORECASE)
    words = re.findall(r"(?<![\w:$.])([a-zA-Z_:][\w:]*)(?!\w*\s*\()", expression)
    return {word for word in words if word.lower() not in KEYWORDS}


def expressions() -> Iterator[str]:
    """The PromQL of every alert, panel and variable."""
    for path in sorted((CHART / "alerts").glob("*.yaml")):
        yield from (rule["expr"] for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"])
    for dashboard in dashboards().values():
        yield from (target["expr"] for panel in panels(dashboard) for target in panel.get("targets", []))
        yield from variable_queries(dashboard)


def dashboards(folder: Path = CHART / "dashboards") -> dict[str, dict[str, Any]]:
    """Grafana dashboards by their files' names."""
    return {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Every panel, also those inside folded rows."""
    return [inner for panel in dashboard["panels"] for inner in (panel, *panel.get("panels", []))]


def variable_queries(dashboard: dict[str, Any]) -> Iterator[str]:
    """The metrics by which variables find their values: ``label_values(metric, label)``."""
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.*),\s*\w+\)", variable["query"]["query"])
            assert found, f"variable {variable['name']} is not made with label_values(metric, label)"
            yield found.group(1)
