"""templates/network/tensorboard.yaml"""

from typing import Any

from tests.charts.rendering import made_by, merged, one, render

TEMPLATE = "network/tensorboard.yaml"
PEER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}
ON: dict[str, Any] = {"tensorboard": {"enabled": True}}
OPEN: dict[str, Any] = merged(ON, {"networkPolicy": {"tensorboard": [PEER]}})


def test_nobody_reaches_it_unless_named() -> None:
    assert made_by(TEMPLATE, ON) == []


def test_who_is_named_reaches_its_one_port() -> None:
    spec = one(made_by(TEMPLATE, OPEN), "NetworkPolicy")["spec"]
    labels = one(render(OPEN), "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"] == labels
    assert spec["ingress"] == [{"ports": [{"port": 6006}], "from": [PEER]}]
    assert spec["policyTypes"] == ["Ingress"]


def test_switched_off_there_is_none() -> None:
    assert made_by(TEMPLATE, merged(OPEN, {"tensorboard": {"enabled": False}})) == []
    assert made_by(TEMPLATE, merged(OPEN, {"networkPolicy": {"enabled": False}})) == []
