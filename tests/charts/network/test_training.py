"""templates/network/training.yaml"""

from typing import Any

from tests.charts.rendering import made_by, merged, one

TEMPLATE = "network/training.yaml"
NODES: dict[str, Any] = {"training": {"nodes": 2}}


def test_a_trainer_on_one_node_talks_to_nobody() -> None:
    assert made_by(TEMPLATE) == []


def test_trainers_on_several_reach_each_other_on_every_port_and_nobody_else() -> None:
    spec = one(made_by(TEMPLATE, NODES), "NetworkPolicy")["spec"]
    assert spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "training"
    assert spec["ingress"] == [{"from": [{"podSelector": spec["podSelector"]}]}]
    assert spec["egress"] == [{"to": [{"podSelector": spec["podSelector"]}]}]


def test_without_policies_or_training_there_is_none() -> None:
    assert made_by(TEMPLATE, merged(NODES, {"networkPolicy": {"enabled": False}})) == []
    assert made_by(TEMPLATE, merged(NODES, {"training": {"enabled": False}})) == []
