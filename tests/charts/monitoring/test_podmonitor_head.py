"""templates/monitoring/podmonitor-head.yaml"""

from tests.charts.rendering import made_by, one, render

TEMPLATE = "monitoring/podmonitor-head.yaml"
ON = {"monitoring": {"podMonitors": {"enabled": True, "labels": {"release": "prometheus"}, "interval": "5s"}}}


def test_there_is_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_it_scrapes_ports_that_the_head_has() -> None:
    monitor = one(made_by(TEMPLATE, ON), "PodMonitor")
    head = one(render(), "RayService")["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= head["metadata"]["labels"].items()
    scraped = [end["port"] for end in monitor["spec"]["podMetricsEndpoints"]]
    assert scraped == ["metrics", "as-metrics", "dash-metrics", "haproxy-metrics"]
    assert set(scraped) <= {port["name"] for port in head["spec"]["containers"][0]["ports"]}
    assert {end["interval"] for end in monitor["spec"]["podMetricsEndpoints"]} == {"5s"}


def test_haproxy_is_scraped_where_it_runs() -> None:
    monitor = one(made_by(TEMPLATE, ON | {"ray": {"haProxy": False}}), "PodMonitor")
    assert [end["port"] for end in monitor["spec"]["podMetricsEndpoints"]] == ["metrics", "as-metrics", "dash-metrics"]
