"""templates/disruption/priority-training.yaml"""

from typing import Any

from tests.charts.rendering import made_by, one

TEMPLATE = "disruption/priority-training.yaml"
ON: dict[str, Any] = {
    "priorityClasses": {"create": True, "serving": "kubevoice-serving", "training": "kubevoice-training"}
}


def test_there_is_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_a_class_that_exists_is_not_made() -> None:
    assert made_by(TEMPLATE, {"priorityClasses": {"training": "theirs"}}) == []


def test_it_belongs_to_the_cluster_and_has_the_name_and_value_of_the_values() -> None:
    made = one(
        made_by(
            TEMPLATE, {"priorityClasses": ON["priorityClasses"] | {"servingValue": 2000000, "trainingValue": 1000000}}
        ),
        "PriorityClass",
    )
    assert made["metadata"]["name"] == "kubevoice-training"
    assert "namespace" not in made["metadata"]
    assert made["value"] == 1000000
    assert not made.get("globalDefault")


def test_training_takes_nobody_elses_place() -> None:
    assert one(made_by(TEMPLATE, ON), "PriorityClass")["preemptionPolicy"] == "Never"
