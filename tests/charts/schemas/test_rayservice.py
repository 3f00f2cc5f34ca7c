"""The strict schema refuses what KubeRay would."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import jsonschema
import pytest

from tests.charts.ray.cluster import rayservice
from tests.charts.schemas.rayservice import pods, validate_rayservice

Change = Callable[[dict[str, Any]], object]

INCREMENTAL = {
    "type": "NewClusterWithIncrementalUpgrade",
    "clusterUpgradeOptions": {
        "gatewayClassName": "istio",
        "stepSizePercent": 30,
        "intervalSeconds": 5,
        "maxSurgePercent": 20,
    },
}


def ray(service: dict[str, Any]) -> Any:
    return service["spec"]["rayClusterConfig"]


def head(service: dict[str, Any]) -> Any:
    return ray(service)["headGroupSpec"]


def changed(change: Change) -> dict[str, Any]:
    service = deepcopy(rayservice())
    change(service)
    return service


@pytest.mark.parametrize(
    "change",
    [
        lambda service: service["spec"].update(rayClusterSpec={}),
        lambda service: service["metadata"].update(name="1st"),
        lambda service: service["metadata"].update(name="v" * 48),
        lambda service: ray(service).update(enableInTreeAutoscaling="true"),
        lambda service: head(service)["rayStartParams"].update({"num-cpus": 0}),
        lambda service: head(service)["rayStartParams"].update(labels="zone=a"),
        lambda service: ray(service)["workerGroupSpecs"][0].update(minReplica=1),
        lambda service: ray(service)["authOptions"].update(enableK8sTokenAuth=True),
        lambda service: service["spec"].update(upgradeStrategy={"type": "RollingUpdate"}),
        lambda service: service["spec"].update(upgradeStrategy={"type": "NewClusterWithIncrementalUpgrade"}),
    ],
)
def test_unknown_fields_and_wrong_types_are_refused(change: Change) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate_rayservice(changed(change), "1.36")


@pytest.mark.parametrize(
    "change",
    [
        lambda service: head(service)["template"]["spec"].update(volume=[]),
        lambda service: ray(service)["workerGroupSpecs"][1]["template"]["spec"]["containers"][0].update(port=[]),
        lambda service: ray(service)["autoscalerOptions"]["securityContext"].update(readOnly=True),
        lambda service: service["spec"]["serveService"]["spec"].update(kind="ClusterIP"),
    ],
)
def test_kubernetes_own_parts_are_checked_too(change: Change) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate_rayservice(changed(change), "1.36")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda service: service["spec"].update(upgradeStrategy=INCREMENTAL), "stepSizePercent is above"),
        (lambda service: ray(service)["workerGroupSpecs"][1].update(groupName="api"), "2 worker groups are named api"),
        (lambda service: ray(service)["workerGroupSpecs"][0].update(minReplicas=9), "minReplicas above"),
        (lambda service: head(service).update(resources={"cpu": "1"}), "resources both"),
        (lambda service: head(service)["template"]["spec"].update(restartPolicy="Always"), "restartPolicy Never"),
        (
            lambda service: head(service)["template"]["spec"]["containers"][0]["env"].append(
                {"name": "REDIS_PASSWORD"}
            ),
            "REDIS_PASSWORD is KubeRay's",
        ),
        (lambda service: ray(service).pop("rayVersion"), "needs rayVersion"),
    ],
)
def test_what_kuberay_answers_with_an_event_is_named(change: Change, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        validate_rayservice(changed(change), "1.36")


def test_the_pods_are_those_that_kuberay_makes() -> None:
    head_pod, *workers = pods(rayservice())
    assert [found["name"] for found in head_pod["spec"]["containers"]] == ["ray-head", "autoscaler"]
    assert [pod["metadata"]["name"] for pod in workers] == ["api", "gpu"]


def test_each_kubernetes_version_takes_it() -> None:
    for version in ("1.32", "1.34", "1.37"):
        validate_rayservice(rayservice(), version)
