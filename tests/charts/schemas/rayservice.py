"""Checks a RayService as KubeRay's API and controller would."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema

from tests.charts.schemas.kubernetes import validate_object

SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text())


def validate_rayservice(service: dict[str, Any], kubernetes_version: str) -> None:
    """Refuse unknown fields, wrong types, and what KubeRay's controller would answer with an event.

    Pods and Services inside are checked strictly by Kubernetes' schemas of ``kubernetes_version`` ("1.36"). Raises
    jsonschema.ValidationError or ValueError.
    """
    jsonschema.validate(service, SCHEMA)
    for pod in pods(service):
        validate_object(pod, kubernetes_version)
    if "serveService" in service["spec"]:
        validate_object({"apiVersion": "v1", "kind": "Service", **service["spec"]["serveService"]}, kubernetes_version)
    problems = list(_refusals(service["spec"]))
    if problems:
        raise ValueError("; ".join(problems))


def pods(service: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pods KubeRay makes of it, head first, each with what KubeRay puts into it from other fields."""
    cluster = service["spec"]["rayClusterConfig"]
    head = _pod(cluster["headGroupSpec"]["template"], "head")
    head["spec"]["containers"] = [*head["spec"]["containers"], _autoscaler(cluster)]
    yield head
    for group in cluster.get("workerGroupSpecs", []):
        yield _pod(group["template"], group["groupName"])


def _pod(template: dict[str, Any], name: str) -> dict[str, Any]:
    metadata = {"name": name, **template.get("metadata", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": dict(template["spec"])}


def _autoscaler(cluster: dict[str, Any]) -> dict[str, Any]:
    """KubeRay's container, with the options that are a container's fields and the password that the head's gets."""
    options = cluster.get("autoscalerOptions", {})
    password = cluster.get("gcsFaultToleranceOptions", {}).get("redisPassword")
    fields = {key: options[key] for key in options if key not in {"version", "idleTimeoutSeconds", "upscalingMode"}}
    env = [*options.get("env", []), *([{"name": "REDIS_PASSWORD", **password}] if password else [])]
    image = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    return {"name": "autoscaler", "image": image, **fields, "env": env}


def _refusals(spec: dict[str, Any]) -> Iterator[str]:
    """The rules of KubeRay's controller that a schema cannot say."""
    cluster, options = spec["rayClusterConfig"], spec.get("upgradeStrategy", {}).get("clusterUpgradeOptions")
    if options and options["stepSizePercent"] > options.get("maxSurgePercent", 100):
        yield "stepSizePercent is above maxSurgePercent"
    if options and not cluster.get("enableInTreeAutoscaling"):
        yield "an incremental upgrade needs enableInTreeAutoscaling"
    if cluster.get("authOptions", {}).get("mode") == "token" and not cluster.get("rayVersion"):
        yield "token authentication needs rayVersion"
    groups = cluster.get("workerGroupSpecs", [])
    for name, times in Counter(group["groupName"] for group in groups).items():
        if times > 1:
            yield f"{times} worker groups are named {name}"
    for group in groups:
        if group["minReplicas"] > group["maxReplicas"]:
            yield f"worker group {group['groupName']} has minReplicas above maxReplicas"
    for group in (cluster["headGroupSpec"], *groups):
        name = group.get("groupName", "head")
        if group.get("resources") and {"num-cpus", "num-gpus", "memory", "resources"} & set(group["rayStartParams"]):
            yield f"{name} has resources both in rayStartParams and in its field"
        if group["template"]["spec"].get("restartPolicy", "Never") != "Never":
            yield f"{name} needs restartPolicy Never, or none, with autoscaler v2"
    taken = {
        variable["name"] for variable in cluster["headGroupSpec"]["template"]["spec"]["containers"][0].get("env", [])
    }
    for variable in ("RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME", "RAY_enable_autoscaler_v2"):
        if variable in taken:
            yield f"{variable} is KubeRay's to set"
