"""The dashboards: valid, complete, readable, and of metrics that somebody exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.metrics import ALL
from tests.charts.metric_names import HARDWARE, expressions, names, names_in_use
from tests.charts.rendering import CHART

BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((CHART / "dashboards").glob("*.json"))}
DOCUMENTS = [
    *(CHART.parents[1] / "docs" / "runbooks").glob("*.md"),
    CHART.parents[1] / "docs" / "autoscaling.md",
    CHART.parents[1] / "docs" / "operations.md",
]


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def ours() -> set[str]:
    """Our metrics under the names that Ray exports them by."""
    exported = set()
    for metric in ALL:
        name = f"ray_{metric.name}"
        exported |= {name + "_total"} if metric.kind == "counter" else {name}
        exported |= {name + suffix for suffix in ("_bucket", "_count")} if metric.kind == "histogram" else set()
    return exported


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_tells_what_to_conclude_and_has_a_unit(name: str) -> None:
    for panel in panels(BOARDS[name]):
        assert len(panel["description"]) > 15, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]


@pytest.mark.parametrize("name", BOARDS)
def test_no_two_panels_share_an_id_or_a_place(name: str) -> None:
    everything = BOARDS[name]["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: dict[tuple[int, int], str] = {}
    for panel in everything:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"], (panel["title"], taken[x, y])


@pytest.mark.parametrize("name", BOARDS)
def test_every_variable_that_is_used_is_defined_and_used(name: str) -> None:
    text = json.dumps(BOARDS[name])
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval"}
    assert used == {variable["name"] for variable in BOARDS[name]["templating"]["list"]}


def test_boards_have_ids_of_their_own_and_no_data_source_of_ours() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)
    for board in BOARDS.values():
        assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels(board))


def test_metrics_of_ours_exist() -> None:
    assert {name for name in names_in_use() if name.startswith("ray_kubevoice_")} <= ours()


def test_metrics_of_gpus_are_declared_by_ray() -> None:
    from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

    assert {name.removeprefix("ray_") for name in HARDWARE} <= set(METRICS_GAUGES)


def test_no_expression_uses_the_sum_of_a_histogram_which_ray_approximates() -> None:
    assert [name for name in names_in_use() if name.endswith("_sum")] == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_metrics_named_in_the_documents_exist(page: Path) -> None:
    named = set(re.findall(r"\bray_(?:kubevoice|serve|node|resources|cluster)\w*", page.read_text()))
    unknown = {name for name in named if name.startswith("ray_kubevoice_")} - ours()
    assert unknown == set()
    assert {name for name in named if not name.startswith("ray_kubevoice")} <= names_in_use() | {"ray_serve_"}


def test_names_are_found_among_labels_functions_and_strings() -> None:
    expression = 'sum by (ray_io_cluster) (rate(ray_a_total{x="ray_b"}[5m])) / on (ray_io_cluster) ray_c'
    assert names(expression) == {"ray_a_total", "ray_c"}


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt install prometheus)"
)
def test_every_expression_is_promql(tmp_path: Path) -> None:
    plain = [re.sub(r"\$__rate_interval", "5m", expression).replace("$", "") for expression in expressions()]
    rules = [{"record": f"check:{index}", "expr": expression} for index, expression in enumerate(plain)]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    verdict = subprocess.run(
        ["promtool", "check", "rules", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert verdict.returncode == 0, verdict.stderr
