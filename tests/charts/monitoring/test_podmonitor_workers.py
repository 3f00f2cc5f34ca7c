"""templates/monitoring/podmonitor-workers.yaml"""

from tests.charts.rendering import made_by, one, render

TEMPLATE = "monitoring/podmonitor-workers.yaml"
ON = {"monitoring": {"podMonitors": {"enabled": True, "labels": {"release": "prometheus"}}}}


def test_there_is_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_it_scrapes_ports_that_every_worker_has() -> None:
    monitor = one(made_by(TEMPLATE, ON), "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    scraped = {end["port"] for end in monitor["spec"]["podMetricsEndpoints"]}
    assert scraped == {"metrics", "haproxy-metrics"}
    for group in one(render(), "RayService")["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        template = group["template"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        assert scraped <= {port["name"] for port in template["spec"]["containers"][0]["ports"]}


def test_haproxy_is_scraped_where_it_runs() -> None:
    monitor = one(made_by(TEMPLATE, ON | {"ray": {"haProxy": False}}), "PodMonitor")
    assert [end["port"] for end in monitor["spec"]["podMetricsEndpoints"]] == ["metrics"]


def test_series_carry_the_name_of_the_worker_group() -> None:
    monitor = one(made_by(TEMPLATE, ON), "PodMonitor")
    assert "kubevoice.io/group" in monitor["spec"]["podTargetLabels"]
