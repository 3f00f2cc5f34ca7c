"""What holds for every object of a release. Each check yields a sentence for everything that is wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from tests.charts.rendering import Object
from tests.charts.schemas.rayservice import pods

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
LONGEST_NAME = 63
JOBS = ("job.yaml", "dataset-job.yaml")
BECOME_LABELS = {"Deployment", "Job", "Pod", "RayService", "Service", "StatefulSet"}
"""Kinds whose names Kubernetes or KubeRay put into labels, which have 63 characters; other names may have 253."""

CLUSTER_WIDE = {"PriorityClass"}
OWN_LABELS = (
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
)


def pod_templates(objects: Sequence[Object]) -> list[tuple[str, dict[str, Any]]]:
    """Every pod that the objects lead to, as (owner, template with metadata and spec)."""
    found: list[tuple[str, dict[str, Any]]] = []
    for item in objects:
        owner = title(item)
        if item["kind"] in {"Job", "StatefulSet", "Deployment"}:
            found.append((owner, item["spec"]["template"]))
        elif item["kind"] == "Pod":
            found.append((owner, {"metadata": item["metadata"], "spec": item["spec"]}))
        elif item["kind"] == "RayService":  # with what KubeRay adds: the autoscaler beside the head
            found += [(f"{owner}/{pod['metadata']['name']}", pod) for pod in pods(item)]
        elif item["kind"] == "ConfigMap":
            found += [(f"{owner}: {key}", job["spec"]["template"]) for key, job in jobs_of(item).items()]
    return found


def jobs_of(config_map: Object) -> dict[str, Object]:
    """The Jobs in the ConfigMap with the training templates, by their keys; none in another ConfigMap."""
    data = config_map.get("data", {})
    return {key: yaml.safe_load(data[key]) for key in JOBS if key in data}


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def bad_names(objects: Sequence[Object]) -> Iterator[str]:
    for item in objects:
        kind, name = item["kind"], item["metadata"]["name"]
        longest = LONGEST_NAME if kind in BECOME_LABELS else 253
        if not DNS_LABEL.fullmatch(name) or len(name) > longest:
            yield f"{kind} {name} is no DNS label of {longest} characters at most"


def repeated_names(objects: Sequence[Object]) -> Iterator[str]:
    for (kind, name), times in Counter((item["kind"], item["metadata"]["name"]) for item in objects).items():
        if times > 1:
            yield f"{times} objects are {kind} {name}"


def missing_labels(objects: Sequence[Object]) -> Iterator[str]:
    for item in objects:
        missing = [label for label in OWN_LABELS if label not in item["metadata"].get("labels", {})]
        if missing:
            yield f"{title(item)} has no {', '.join(missing)}"
        if item["kind"] not in CLUSTER_WIDE and not item["metadata"].get("namespace"):
            yield f"{title(item)} has no namespace"


def bad_images(objects: Sequence[Object]) -> Iterator[str]:
    """Images without a tag or digest, or with one that moves."""
    for owner, template in pod_templates(objects):
        for container in containers(template):
            name = container["image"].rpartition("/")[2]
            if name.endswith(":latest") or (":" not in name and "@" not in name):
                yield f"{owner}: image {container['image']} moves"


def missing_resources(objects: Sequence[Object]) -> Iterator[str]:
    """Containers without requests for CPU and memory and a limit of memory."""
    for owner, template in pod_templates(objects):
        for container in containers(template):
            resources = container.get("resources", {})
            missing = [name for name in ("cpu", "memory") if name not in resources.get("requests", {})]
            if missing or "memory" not in resources.get("limits", {}):
                yield f"{owner}: {container['name']} has incomplete resources {resources}"


def bad_quantities(objects: Sequence[Object]) -> Iterator[str]:
    """Resources, sizes of volumes and quotas that Kubernetes could not read."""
    for item in with_jobs(objects):
        for path, quantity in _quantities(item):
            if not QUANTITY.fullmatch(str(quantity)):
                yield f"{title(item)}: {path} {quantity!r} is no quantity"


def with_jobs(objects: Sequence[Object]) -> Iterator[Object]:
    """The objects and the Jobs inside the training templates."""
    for item in objects:
        yield item
        if item["kind"] == "ConfigMap":
            yield from jobs_of(item).values()


def title(item: Object) -> str:
    """How messages name an object."""
    return f"{item['kind']}/{item['metadata'].get('name', '')}"


def _quantities(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _quantities(item, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in {"requests", "limits", "hard"} and isinstance(item, dict):
                yield from ((f"{path}.{key}.{name}", quantity) for name, quantity in item.items())
            elif key == "sizeLimit":
                yield f"{path}.{key}", item
            else:
                yield from _quantities(item, f"{path}.{key}" if path else key)
