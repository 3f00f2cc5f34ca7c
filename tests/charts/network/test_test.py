"""templates/network/test.yaml"""

from tests.charts.rendering import made_by, one, render

TEMPLATE = "network/test.yaml"


def test_the_test_pod_reaches_the_api_and_nothing_else() -> None:
    spec = one(made_by(TEMPLATE), "NetworkPolicy")["spec"]
    (rule,) = spec["egress"]
    assert rule["ports"] == [{"port": 8000}]
    pod = one(render(), "Pod")
    assert spec["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_switched_off_there_is_none() -> None:
    assert made_by(TEMPLATE, {"networkPolicy": {"enabled": False}}) == []
