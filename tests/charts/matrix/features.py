"""Parts of values that several cases are made of."""

from __future__ import annotations

from typing import Any

from tests.charts.rendering import merged

Values = dict[str, Any]

OPEN: Values = {"exposure": {"allowUnauthenticated": True}}
INGRESS: Values = {"ingress": {"enabled": True, "hosts": ["speech.example.org"], "tlsSecret": "speech-tls"}}
ROUTE: Values = {"route": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["speech.example.org"]}}
BUNDLED: Values = {"postgresql": {"bundled": {"enabled": True}}}
DOWNLOAD: Values = {"models": {"xtts": {"download": {"enabled": True, "acceptLicence": True}}}}
TOLERANT: Values = {"ray": {"gcsFaultTolerance": {"enabled": True}}}
BUNDLED_REDIS: Values = merged(TOLERANT, {"redis": {"bundled": {"enabled": True}}})
CLASSES: Values = {"priorityClasses": {"create": True, "serving": "speech-serving", "training": "speech-training"}}
MONITORED: Values = {
    "monitoring": {"podMonitors": {"enabled": True}, "rules": {"enabled": True}, "dashboards": {"enabled": True}}
}
INCREMENTAL: Values = merged(
    OPEN, {"upgrade": {"type": "NewClusterWithIncrementalUpgrade", "gatewayClassName": "istio"}}
)

EVERYTHING: Values = merged(
    OPEN,
    INGRESS,
    ROUTE,
    BUNDLED,
    DOWNLOAD,
    BUNDLED_REDIS,
    CLASSES,
    MONITORED,
    {
        "training": {"gpuQuota": 2, "nodes": 2},
        "tensorboard": {"enabled": True},
        "networkPolicy": {"tensorboard": [{"podSelector": {"matchLabels": {"app": "portal"}}}]},
        "podDisruptionBudgets": {"training": True},
    },
)
"""An object of every template, but the Secret with a database's URL."""


def group(name: str, runs: list[str], most: int, **keys: Any) -> Values:
    """A worker group of ``most`` pods with four CPUs."""
    resources = {"requests": {"cpu": "4", "memory": "8Gi"}, "limits": {"memory": "8Gi"}}
    return {"name": name, "runs": runs, "minReplicas": 1, "maxReplicas": most, "resources": resources, **keys}


FRONT = group("front", ["api"], 2)
TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
ONE_NODE: Values = {"storage": {"accessMode": "ReadWriteOnce", "singleNode": True}}
