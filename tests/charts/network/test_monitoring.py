"""templates/network/monitoring.yaml"""

from tests.charts.rendering import made_by, one, render

TEMPLATE = "network/monitoring.yaml"


def test_every_port_that_a_pod_monitor_scrapes_is_open() -> None:
    objects = render({"monitoring": {"podMonitors": {"enabled": True}}})
    cluster = one(objects, "RayService")["spec"]["rayClusterConfig"]
    templates = [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    numbers = {
        port["name"]: port["containerPort"]
        for template in templates
        for port in template["spec"]["containers"][0]["ports"]
    }
    monitors = [item for item in objects if item["kind"] == "PodMonitor"]
    scraped = {numbers[end["port"]] for item in monitors for end in item["spec"]["podMetricsEndpoints"]}
    rule = one(made_by(TEMPLATE), "NetworkPolicy")["spec"]["ingress"][0]
    assert {port["port"] for port in rule["ports"]} == scraped == {8080, 44217, 44227, 9101}


def test_haproxy_is_scraped_where_it_runs() -> None:
    rule = one(made_by(TEMPLATE, {"ray": {"haProxy": False}}), "NetworkPolicy")["spec"]["ingress"][0]
    assert [port["port"] for port in rule["ports"]] == [8080, 44217, 44227]


def test_every_pod_may_scrape_unless_somebody_is_named() -> None:
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    for given, expected in (([], [{"namespaceSelector": {}}]), (peers, peers)):
        spec = one(made_by(TEMPLATE, {"networkPolicy": {"monitoring": given}}), "NetworkPolicy")["spec"]
        assert spec["ingress"][0]["from"] == expected


def test_switched_off_there_is_none() -> None:
    assert made_by(TEMPLATE, {"networkPolicy": {"enabled": False}}) == []
