"""CustomResourceDefinitions for the API server, made from the schemas that the chart is checked with."""

from __future__ import annotations

from typing import Any

OPEN: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

KINDS = (
    ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
    ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
    ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
)
"""Kinds of others, stored as they come."""


def definitions() -> list[dict[str, Any]]:
    """The definitions to create before the chart is installed."""
    cluster = {
        "type": "object",
        "properties": {
            "rayVersion": {"type": "string"},
            "enableInTreeAutoscaling": {"type": "boolean"},
            "workerGroupSpecs": {"type": "array", "items": OPEN},
        },
        "x-kubernetes-preserve-unknown-fields": True,
    }
    service = {
        "type": "object",
        "required": ["rayClusterConfig"],
        "properties": {"serveConfigV2": {"type": "string"}, "rayClusterConfig": cluster},
        "x-kubernetes-preserve-unknown-fields": True,
    }
    return [
        _definition("ray.io", "v1", "RayService", "rayservices", service),
        *(_definition(*kind, OPEN) for kind in KINDS),
    ]


def _definition(group: str, version: str, kind: str, plural: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
                }
            ],
        },
    }
