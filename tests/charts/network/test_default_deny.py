"""templates/network/default-deny.yaml"""

from tests.charts.network.traffic import pods
from tests.charts.rendering import made_by, one, render

TEMPLATE = "network/default-deny.yaml"


def test_it_selects_every_pod_of_the_release_and_allows_nothing() -> None:
    spec = one(made_by(TEMPLATE), "NetworkPolicy")["spec"]
    assert sorted(spec) == ["podSelector", "policyTypes"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    found = pods(render())
    assert "head" in found
    for pod in found.values():
        assert spec["podSelector"]["matchLabels"].items() <= pod.labels.items()


def test_it_leaves_other_releases_alone() -> None:
    labels = one(made_by(TEMPLATE), "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    assert labels["app.kubernetes.io/instance"] == "voices"


def test_switched_off_there_is_none() -> None:
    assert made_by(TEMPLATE, {"networkPolicy": {"enabled": False}}) == []
