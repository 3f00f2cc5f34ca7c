"""Walks over rendered objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from tests.charts.rendering import Object
from tests.charts.schemas.rayservice import pods as ray_pods

Template = dict[str, Any]
"""What a pod is made from: metadata and spec."""


def pod_templates(objects: Iterable[Object]) -> Iterator[tuple[str, Template]]:
    """(owner, template) of every pod that ``objects`` lead to, with KubeRay's autoscaler and the training Job."""
    for item in objects:
        owner, spec = title(item), item.get("spec", {})
        match item["kind"]:
            case "RayService":
                for pod in ray_pods(item):
                    yield f"{owner} {pod['metadata']['name']}", pod
            case "Pod":
                yield owner, item
            case "Job" | "StatefulSet" | "Deployment" | "DaemonSet" | "ReplicaSet":
                yield owner, spec["template"]
            case "ConfigMap":
                for job in manifests(item):
                    yield f"{owner} {job['kind']}", job["spec"]["template"]


def manifests(config_map: Object) -> Iterator[Object]:
    """Jobs that a ConfigMap carries as text for others to start."""
    for name, text in config_map.get("data", {}).items():
        if name.endswith((".yaml", ".yml")):
            for document in yaml.safe_load_all(text):
                if isinstance(document, dict) and document.get("kind") == "Job":
                    yield document


def containers(template: Template) -> list[dict[str, Any]]:
    """Every container of a pod, init containers first."""
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def labels(template: Template) -> dict[str, str]:
    found: dict[str, str] = template.get("metadata", {}).get("labels", {})
    return found


def title(item: Object) -> str:
    """How messages name an object."""
    return f"{item['kind']}/{item['metadata'].get('name', '')}"


def nodes(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of everything inside a document, outermost first."""
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from nodes(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from nodes(inner, f"{path}[{index}]")


def selects(selector: dict[str, Any], found: dict[str, str]) -> bool:
    """Whether a Kubernetes label selector matches the labels ``found``."""
    wanted = selector.get("matchLabels", {})
    return wanted.items() <= found.items() and all(
        _holds(expression, found) for expression in selector.get("matchExpressions", [])
    )


def _holds(expression: dict[str, Any], found: dict[str, str]) -> bool:
    key, values = expression["key"], expression.get("values", [])
    match expression["operator"]:
        case "In":
            return found.get(key) in values
        case "NotIn":
            return found.get(key) not in values
        case "Exists":
            return key in found
        case "DoesNotExist":
            return key not in found
    raise ValueError(f"a selector has the operator {expression['operator']}")
