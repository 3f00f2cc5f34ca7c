"""templates/disruption/priority-serving.yaml"""

from typing import Any

from tests.charts.rendering import made_by, one

TEMPLATE = "disruption/priority-serving.yaml"
ON: dict[str, Any] = {
    "priorityClasses": {"create": True, "serving": "kubevoice-serving", "training": "kubevoice-training"}
}


def test_there_is_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_a_class_that_exists_is_not_made() -> None:
    assert made_by(TEMPLATE, {"priorityClasses": {"serving": "theirs"}}) == []


def test_it_belongs_to_the_cluster_and_has_the_name_and_value_of_the_values() -> None:
    made = one(
        made_by(TEMPLATE, {"priorityClasses": ON["priorityClasses"] | {"servingValue": 1000000}}), "PriorityClass"
    )
    assert made["metadata"]["name"] == "kubevoice-serving"
    assert "namespace" not in made["metadata"]
    assert made["value"] == 1000000
    assert not made.get("globalDefault")
