"""The RayService of a rendered chart, and its parts."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import yaml

from tests.charts.rendering import Object, one, render
from tests.charts.schemas.rayservice import validate_rayservice

KUBERNETES = "1.36"


def rayservice(values: Mapping[str, Any] | None = None) -> Object:
    """The RayService with ``values``; KubeRay and Kubernetes would take it."""
    service: Object = json.loads(_checked(json.dumps(values or {})))
    return service


@functools.cache
def _checked(values: str) -> str:
    service = one(render(json.loads(values)), "RayService")
    validate_rayservice(service, KUBERNETES)
    return json.dumps(service)


def raycluster(values: Mapping[str, Any] | None = None) -> Object:
    cluster: Object = rayservice(values)["spec"]["rayClusterConfig"]
    return cluster


def serve_config(values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """serveConfigV2, parsed."""
    config: dict[str, Any] = yaml.safe_load(rayservice(values)["spec"]["serveConfigV2"])
    return config


def head(values: Mapping[str, Any] | None = None) -> Object:
    """The head's pod template."""
    template: Object = raycluster(values)["headGroupSpec"]["template"]
    return template


def group(values: Mapping[str, Any] | None = None, name: str = "gpu") -> Object:
    found: list[Object] = [group for group in raycluster(values)["workerGroupSpecs"] if group["groupName"] == name]
    assert len(found) == 1, f"{len(found)} worker groups are named {name}"
    return found[0]


def worker(values: Mapping[str, Any] | None = None, name: str = "gpu") -> Object:
    """The pod template of a worker group."""
    template: Object = group(values, name)["template"]
    return template


def container(template: Object) -> Object:
    """Ray's container, which has to be the first."""
    first: Object = template["spec"]["containers"][0]
    return first


def environment(template: Object) -> dict[str, Any]:
    """Names and values of Ray's container; where a value comes from an object, the reference."""
    variables = container(template)["env"]
    names = [variable["name"] for variable in variables]
    assert len(names) == len(set(names)), "the API server takes each name once"
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in variables}


def only_group(**keys: Any) -> dict[str, Any]:
    """Values with one worker group, called ``gpu``, for everything."""
    usual = {
        "name": "gpu",
        "runs": ["api", "speech"],
        "minReplicas": 1,
        "maxReplicas": 3,
        "gpus": 1,
        "resources": {"requests": {"cpu": "4"}},
    }
    return {"workerGroups": [{**usual, **keys}]}
