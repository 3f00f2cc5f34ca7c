"""What the API server refuses to change in an object that exists, for the kinds that the chart makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.charts.objects import title
from tests.charts.rendering import Object

MUTABLE_OF_STATEFUL_SET = {
    "minReadySeconds",
    "ordinals",
    "persistentVolumeClaimRetentionPolicy",
    "replicas",
    "revisionHistoryLimit",
    "template",
    "updateStrategy",
}
MUTABLE_OF_JOB = {"activeDeadlineSeconds", "backoffLimit", "parallelism", "suspend", "ttlSecondsAfterFinished"}
STATE = {"PersistentVolumeClaim", "Secret", "StatefulSet"}
"""Kinds whose loss is a loss of data."""


def refused(before: Sequence[Object], after: Sequence[Object]) -> Iterator[str]:
    """A sentence for each immutable field that differs between objects of equal kind and name.

    Objects of hooks are deleted and made anew.
    """
    old = {title(item): item for item in before if not _is_hook(item)}
    for item in after:
        found = old.get(title(item))
        if found is None or _is_hook(item):
            continue
        earlier, later = dict(_immutable(found)), dict(_immutable(item))
        for field in sorted(earlier.keys() | later.keys()):
            if earlier.get(field) != later.get(field):
                yield f"{title(item)}: {field} changes from {earlier.get(field)!r} to {later.get(field)!r}"


def dropped(before: Sequence[Object], after: Sequence[Object]) -> list[str]:
    """Objects with state that are in ``before`` only."""
    return sorted({title(item) for item in before if item["kind"] in STATE} - {title(item) for item in after})


def _is_hook(item: Object) -> bool:
    return "helm.sh/hook" in item["metadata"].get("annotations", {})


def _immutable(item: Object) -> Iterator[tuple[str, Any]]:
    """(field, value) of everything in ``item`` that stays as it was created."""
    spec: Mapping[str, Any] = item.get("spec", {})
    match item["kind"]:
        case "StatefulSet":
            yield from ((f"spec.{key}", value) for key, value in spec.items() if key not in MUTABLE_OF_STATEFUL_SET)
        case "Deployment":
            yield "spec.selector", spec["selector"]
        case "Job":
            yield from ((f"spec.{key}", value) for key, value in spec.items() if key not in MUTABLE_OF_JOB)
        case "PersistentVolumeClaim":
            yield from ((f"spec.{key}", value) for key, value in spec.items() if key != "resources")
        case "RoleBinding":
            yield "roleRef", item["roleRef"]
        case "Service":
            yield "spec.clusterIP", spec.get("clusterIP")
        case "PriorityClass":
            yield "value", item["value"]
            yield "preemptionPolicy", item.get("preemptionPolicy")
        case "Secret":
            yield "type", item.get("type", "Opaque")
        case "ResourceQuota":
            yield "spec.scopes", spec.get("scopes")
