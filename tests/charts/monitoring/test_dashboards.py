"""templates/monitoring/dashboards.yaml"""

import json
from typing import Any

from tests.charts.rendering import CHART, made_by

TEMPLATE = "monitoring/dashboards.yaml"
ON: dict[str, Any] = {"monitoring": {"dashboards": {"enabled": True}}}
FILES = {path.name: json.loads(path.read_text()) for path in (CHART / "dashboards").glob("*.json")}

MOST_BYTES = 1 << 20
"""Of a ConfigMap."""


def test_there_are_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_every_dashboard_comes_through_unchanged_in_a_config_map_of_its_own() -> None:
    made = made_by(TEMPLATE, ON)
    assert FILES
    assert {name: json.loads(text) for item in made for name, text in item["data"].items()} == FILES
    assert len(made) == len(FILES)
    for item in made:
        (name,) = item["data"]
        assert item["metadata"]["name"] == f"voices-kubevoice-dashboard-{name.removesuffix('.json')}"
        assert len(item["data"][name].encode()) < MOST_BYTES


def test_labels_and_annotations_lead_grafana_to_them() -> None:
    values = {
        "monitoring": {"dashboards": {"enabled": True, "labels": {"team": "x"}, "annotations": {"folder": "Voice"}}}
    }
    for item in made_by(TEMPLATE, values):
        assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert item["metadata"]["labels"]["team"] == "x"
        assert item["metadata"]["annotations"] == {"folder": "Voice"}
