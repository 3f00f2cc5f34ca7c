"""Building blocks of the cases."""

from __future__ import annotations

from typing import Any

Values = dict[str, Any]
Case = tuple[Values, list[str]]
"""(values, pieces of the line that refuses them)."""

OPEN: Values = {"exposure": {"allowUnauthenticated": True}}
ESPEAK: Values = {"settings": {"engine": "espeak"}}
TOLERANT: Values = {"ray": {"gcsFaultTolerance": {"enabled": True}}}
INCREMENTAL: Values = {
    **OPEN,
    "upgrade": {"type": "NewClusterWithIncrementalUpgrade", "gatewayClassName": "istio"},
}
API: Values = {
    "name": "api",
    "runs": ["api"],
    "minReplicas": 2,
    "maxReplicas": 4,
    "resources": {"requests": {"cpu": "2"}},
}
GPU: Values = {
    "name": "gpu",
    "runs": ["speech"],
    "minReplicas": 1,
    "maxReplicas": 3,
    "gpus": 1,
    "resources": {"requests": {"cpu": "4"}},
}


def groups(*found: Values, **values: Any) -> Values:
    return {"workerGroups": list(found), **values}


def scaler(kind: str, target: str, name: str) -> Values:
    return {
        "apiVersion": "keda.sh/v1alpha1" if kind == "ScaledObject" else "autoscaling/v2",
        "kind": kind,
        "metadata": {"name": "more"},
        "spec": {"scaleTargetRef": {"kind": target, "name": name}, "maxReplicaCount": 9},
    }
