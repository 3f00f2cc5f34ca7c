"""templates/monitoring/prometheusrule.yaml"""

import shutil
from typing import Any

import pytest
import yaml
from helm_python import Chart

from tests.charts.rendering import CHART, MINIMAL, Object, made_by, merged, one

TEMPLATE = "monitoring/prometheusrule.yaml"
ON: dict[str, Any] = {"monitoring": {"rules": {"enabled": True}}}

GROUP = {
    "name": "extra",
    "interval": "30s",
    "rules": [
        {"record": "kubevoice:requests", "expr": "sum(ray_x)"},
        {
            "alert": "TooSlow",
            "expr": 'x > 1 and y{a="b"}',
            "for": "5m",
            "labels": {"severity": "warning"},
            "annotations": {"summary": "{{ $labels.pod }} took {{ $value | humanizeDuration }}"},
        },
        {"alert": "TooLoud", "expr": "z > 1"},
    ],
}


@pytest.fixture(scope="module")
def with_own_alerts(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    """The chart, with one file of alerts beside those it has."""
    copy = tmp_path_factory.mktemp("chart") / "kubevoice"
    shutil.copytree(CHART, copy)
    (copy / "alerts").mkdir(exist_ok=True)
    (copy / "alerts" / "zz-extra.yaml").write_text(yaml.safe_dump({"groups": [GROUP]}))
    return Chart.load(copy)


def extra(chart: Chart, **rules: Any) -> list[Object]:
    """The rules of the added file as the chart makes them."""
    values = merged(MINIMAL, ON, {"monitoring": {"rules": rules}})
    made = yaml.safe_load(chart.render(values, name="voices")[f"kubevoice/templates/{TEMPLATE}"])
    return [rule for group in made["spec"]["groups"] if group["name"] == "extra" for rule in group["rules"]]


def test_there_is_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_every_file_of_alerts_is_in_it() -> None:
    made = one(made_by(TEMPLATE, merged(ON, {"monitoring": {"rules": {"labels": {"release": "p"}}}})), "PrometheusRule")
    files = [yaml.safe_load(path.read_text()) for path in sorted((CHART / "alerts").glob("*.yaml"))]
    groups = [group["name"] for file in files for group in file["groups"]]
    assert [group["name"] for group in made["spec"]["groups"]] == groups
    assert len(groups) == len(set(groups))
    assert made["metadata"]["labels"]["release"] == "p"


def test_templates_of_prometheus_come_through_as_they_are(with_own_alerts: Chart) -> None:
    record, slow, loud = extra(with_own_alerts, runbookUrl="https://runbooks/")
    assert record == GROUP["rules"][0]
    assert slow["annotations"] == {
        "summary": "{{ $labels.pod }} took {{ $value | humanizeDuration }}",
        "runbook_url": "https://runbooks/TooSlow.md",
    }
    assert (slow["expr"], slow["for"]) == ('x > 1 and y{a="b"}', "5m")
    assert loud["annotations"] == {"runbook_url": "https://runbooks/TooLoud.md"}


def test_alerts_can_be_left_out(with_own_alerts: Chart) -> None:
    left = extra(with_own_alerts, disabled=["TooSlow"])
    assert [rule.get("alert") for rule in left] == [None, "TooLoud"]


def test_every_alert_has_its_runbook_in_the_repository() -> None:
    runbooks = CHART.parents[1] / "docs" / "runbooks"
    made = one(made_by(TEMPLATE, ON), "PrometheusRule")
    alerts = [rule for group in made["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    assert alerts
    for rule in alerts:
        assert (runbooks / rule["annotations"]["runbook_url"].rpartition("/")[2]).is_file(), rule["alert"]
