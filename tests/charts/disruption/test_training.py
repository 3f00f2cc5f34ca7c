"""templates/disruption/training.yaml"""

from typing import Any

from tests.charts.objects import jobs_of
from tests.charts.rendering import made_by, merged, one, render

TEMPLATE = "disruption/training.yaml"
ON: dict[str, Any] = {"podDisruptionBudgets": {"training": True}}


def test_a_run_that_saves_when_it_is_told_to_does_not_block_drains() -> None:
    assert made_by(TEMPLATE) == []


def test_asked_for_it_lets_no_trainer_go_however_many_there_are() -> None:
    spec = one(made_by(TEMPLATE, ON), "PodDisruptionBudget")["spec"]
    assert spec["minAvailable"] >= 10000  # an integer: Kubernetes knows no more of the pods of a Job
    assert "maxUnavailable" not in spec
    config_map = one(render(ON), "ConfigMap", "voices-kubevoice-training-template")
    labels = {key: job["spec"]["template"]["metadata"]["labels"] for key, job in jobs_of(config_map).items()}
    selected = [key for key, found in labels.items() if spec["selector"]["matchLabels"].items() <= found.items()]
    assert selected == ["job.yaml"]


def test_without_budgets_or_training_there_is_none() -> None:
    assert made_by(TEMPLATE, merged(ON, {"podDisruptionBudgets": {"enabled": False}})) == []
    assert made_by(TEMPLATE, merged(ON, {"training": {"enabled": False}})) == []
