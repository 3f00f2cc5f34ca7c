"""templates/training/quota.yaml"""

from typing import Any

import pytest
import yaml
from helm_python.errors import HelmError

from tests.charts.rendering import made_by, merged, one, render

TEMPLATE = "training/quota.yaml"
ON: dict[str, Any] = {"training": {"gpuQuota": 2}, "priorityClasses": {"training": "low"}}


def test_there_is_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_it_counts_the_gpus_of_training_pods_and_no_others() -> None:
    spec = one(made_by(TEMPLATE, ON), "ResourceQuota")["spec"]
    assert spec["hard"] == {"requests.nvidia.com/gpu": "2"}
    (scope,) = spec["scopeSelector"]["matchExpressions"]
    config_map = one(render(ON), "ConfigMap", "voices-kubevoice-training-template")
    job = yaml.safe_load(config_map["data"]["job.yaml"])
    assert scope == {
        "scopeName": "PriorityClass",
        "operator": "In",
        "values": [job["spec"]["template"]["spec"]["priorityClassName"]],
    }


def test_no_gpus_at_all_is_a_quota_too() -> None:
    values = merged(ON, {"training": {"gpuQuota": 0, "gpuResource": "nvidia.com/mig-1g.10gb"}})
    assert one(made_by(TEMPLATE, values), "ResourceQuota")["spec"]["hard"] == {"requests.nvidia.com/mig-1g.10gb": "0"}


def test_without_a_class_there_is_nothing_to_count() -> None:
    with pytest.raises(HelmError, match=r"priorityClasses\.training"):
        render({"training": {"gpuQuota": 2}})


def test_without_training_there_is_none() -> None:
    assert made_by(TEMPLATE, merged(ON, {"training": {"enabled": False}})) == []
