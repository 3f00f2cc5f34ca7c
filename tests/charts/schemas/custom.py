"""Checks the objects of the Prometheus operator and the Gateway API, whose schemas Kubernetes does not have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text())
KINDS = {"PodMonitor", "PrometheusRule", "HTTPRoute"}


def validate_custom(item: dict[str, Any]) -> None:
    """Raise jsonschema.ValidationError for an unknown field or a wrong value; ``item`` is of one of KINDS."""
    jsonschema.validate(item, {"$ref": f"#/$defs/{item['kind']}", "$defs": SCHEMA["$defs"]})
