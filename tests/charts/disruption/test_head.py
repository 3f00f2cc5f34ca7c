"""templates/disruption/head.yaml"""

from tests.charts.rendering import made_by, one, render

TEMPLATE = "disruption/head.yaml"


def test_a_head_whose_loss_stops_everything_is_not_evicted() -> None:
    budget = one(made_by(TEMPLATE), "PodDisruptionBudget")
    head = one(render(), "RayService")["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]
    assert budget["spec"]["minAvailable"] == 1
    assert budget["spec"]["selector"]["matchLabels"].items() <= head["metadata"]["labels"].items()
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_a_head_that_is_replaced_without_harm_does_not_block_drains() -> None:
    values = {"ray": {"gcsFaultTolerance": {"enabled": True}}, "redis": {"address": "redis:6379"}}
    assert made_by(TEMPLATE, values) == []


def test_switched_off_there_is_none() -> None:
    assert made_by(TEMPLATE, {"podDisruptionBudgets": {"enabled": False}}) == []
