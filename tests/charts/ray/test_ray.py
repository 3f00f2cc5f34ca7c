"""templates/_ray.tpl: nodes as Ray starts them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ray._private.ray_constants import OBJECT_STORE_MINIMUM_MEMORY_BYTES
from ray.autoscaler._private.kuberay.autoscaling_config import _node_type_from_group_spec
from ray.scripts.scripts import start

from tests.charts.ray.cluster import group, only_group, raycluster


def test_every_parameter_is_one_that_ray_start_has() -> None:
    known = {option.removeprefix("--") for parameter in start.params for option in parameter.opts}
    cluster = raycluster()
    for node in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert set(node["rayStartParams"]) <= known


def test_every_port_of_a_node_is_fixed() -> None:
    ports = {name: value for name, value in group()["rayStartParams"].items() if name.endswith("port")}
    assert ports == {
        "node-manager-port": "6380",
        "object-manager-port": "6381",
        "runtime-env-agent-port": "6382",
        "dashboard-agent-grpc-port": "6383",
        "dashboard-agent-listen-port": "52365",
        "metrics-export-port": "8080",
        "min-worker-port": "10002",
        "max-worker-port": "19999",
    }
    head = raycluster()["headGroupSpec"]["rayStartParams"]
    assert {**head, **ports} == head
    assert (head["port"], head["dashboard-port"], head["ray-client-server-port"]) == ("6379", "8265", "10001")


def test_the_head_takes_extra_parameters_over_its_own() -> None:
    params = raycluster({"ray": {"headStartParams": {"include-log-monitor": "false", "dashboard-host": "::"}}})
    params = params["headGroupSpec"]["rayStartParams"]
    assert params["include-log-monitor"] == "false"
    assert params["dashboard-host"] == "::"
    assert params["num-cpus"] == "0"


@pytest.mark.parametrize(
    ("size", "store"),
    [
        ("1Gi", 966_367_641),
        ("512Mi", 483_183_820),
        ("2G", 1_800_000_000),
        ("1.5Gi", 1_449_551_462),
        ("200000000", 180_000_000),
    ],
)
def test_the_object_store_fits_into_shared_memory(size: str, store: int) -> None:
    given = int(group({"pods": {"sharedMemory": size}})["rayStartParams"]["object-store-memory"])
    assert given == store
    assert given > OBJECT_STORE_MINIMUM_MEMORY_BYTES


def autoscaler_sees(values: dict[str, Any] | None = None, name: str = "gpu") -> dict[str, Any]:
    """What Ray's own autoscaler reads off a group."""
    node: dict[str, Any] = _node_type_from_group_spec(group(values, name), is_head=False)
    return node


def test_the_autoscaler_knows_what_a_new_gpu_node_would_offer() -> None:
    node = autoscaler_sees()
    assert (node["min_workers"], node["max_workers"]) == (1, 3)
    assert node["resources"] == {"CPU": 4, "GPU": 1, "memory": 16 * 2**30, "kubevoice-speech": 1000}


def test_the_autoscaler_knows_what_a_new_api_node_would_offer() -> None:
    assert autoscaler_sees(name="api")["resources"] == {"CPU": 2, "GPU": 0, "memory": 4 * 2**30, "kubevoice-api": 1000}


def test_a_mig_slice_counts_as_a_gpu() -> None:
    resources = {"requests": {"cpu": "4"}, "limits": {"memory": "8Gi"}}
    values = only_group(gpus=2, gpuResource="nvidia.com/mig-2g.20gb", resources=resources)
    assert autoscaler_sees(values)["resources"]["GPU"] == 2
    limits = group(values)["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"memory": "8Gi", "nvidia.com/mig-2g.20gb": 2}


def test_a_group_may_run_both() -> None:
    params = group(only_group())["rayStartParams"]
    assert params["resources"][0] == params["resources"][-1] == "'"
    assert json.loads(params["resources"][1:-1]) == {"kubevoice-api": 1000, "kubevoice-speech": 1000}


def test_how_many_pods_run_is_the_autoscaler_s_to_say() -> None:
    assert "replicas" not in group()
    assert (group()["minReplicas"], group()["maxReplicas"]) == (1, 3)


def test_a_group_may_be_preferred() -> None:
    assert "priority" not in group()
    assert autoscaler_sees(only_group(priority=7))["priority"] == 7
