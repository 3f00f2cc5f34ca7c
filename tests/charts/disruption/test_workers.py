"""templates/disruption/workers.yaml"""

from typing import Any

from tests.charts.rendering import made_by, render

TEMPLATE = "disruption/workers.yaml"


def group(name: str, runs: list[str], least: int) -> dict[str, Any]:
    resources = {"requests": {"cpu": "4"}}
    return {"name": name, "runs": runs, "minReplicas": least, "maxReplicas": 9, "gpus": 1, "resources": resources}


def budgets(groups: list[dict[str, Any]], api: int, speech: int) -> dict[str, int]:
    values = {
        "workerGroups": groups,
        "api": {"minReplicas": api, "maxReplicas": 9},
        "speech": {"minReplicas": speech, "maxReplicas": 8},
    }
    return {
        item["spec"]["selector"]["matchLabels"]["kubevoice.io/group"]: item["spec"]["minAvailable"]
        for item in made_by(TEMPLATE, values)
    }


def test_one_pod_of_a_group_may_go_at_a_time() -> None:
    groups = [group("front", ["api"], 3), group("voice", ["speech"], 2)]
    assert budgets(groups, api=3, speech=2) == {"front": 2, "voice": 1}


def test_a_group_of_one_or_none_blocks_no_drain() -> None:
    assert budgets([group("front", ["api"], 1), group("voice", ["speech"], 0)], api=1, speech=0) == {}


def test_a_group_with_pods_that_have_no_replica_and_are_not_ready_blocks_no_drain() -> None:
    groups = [group("front", ["api"], 2), group("a100", ["speech"], 2), group("l4", ["speech"], 2)]
    assert budgets(groups, api=2, speech=3) == {"front": 1}
    assert budgets(groups, api=2, speech=4) == {"front": 1, "a100": 1, "l4": 1}


def test_a_group_that_runs_both_is_busy_with_either() -> None:
    assert budgets([group("all", ["api", "speech"], 2)], api=2, speech=1) == {"all": 1}


def test_a_budget_selects_the_pods_of_its_group_and_no_others() -> None:
    (budget,) = made_by(TEMPLATE)
    assert budget["metadata"]["name"] == "voices-kubevoice-worker-api"
    assert isinstance(budget["spec"]["minAvailable"], int)  # a RayCluster cannot be asked what a percentage of it is
    service = next(item for item in render() if item["kind"] == "RayService")
    wanted = budget["spec"]["selector"]["matchLabels"].items()
    selected = [
        worker["groupName"]
        for worker in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        if wanted <= worker["template"]["metadata"]["labels"].items()
    ]
    assert selected == ["api"]


def test_switched_off_there_are_none() -> None:
    assert made_by(TEMPLATE, {"podDisruptionBudgets": {"enabled": False}}) == []
