"""templates/network/httproute.yaml"""

import re
from typing import Any

from ray.serve._private.constants import (
    SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER,
    SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER,
    SERVE_MULTIPLEXED_MODEL_ID,
    SERVE_SESSION_ID,
)

from tests.charts.rendering import made_by, merged, one, render

HEADER_NAME = r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+"
"""The pattern that Gateway API has for them (RFC 9110, a token)."""

ON: dict[str, Any] = {
    "route": {"enabled": True, "parentRefs": [{"name": "public", "namespace": "gateways"}]},
    "exposure": {"allowUnauthenticated": True},
}

TEMPLATE = "network/httproute.yaml"


def rule(values: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = one(made_by(TEMPLATE, merged(ON, values or {})), "HTTPRoute")["spec"]["rules"][0]
    return found


def test_there_is_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_it_attaches_to_the_gateways_of_the_values() -> None:
    values = {"route": {"hostnames": ["speech.example.org"], "annotations": {"note": "x"}}}
    found = one(made_by(TEMPLATE, merged(ON, values)), "HTTPRoute")
    assert found["metadata"]["annotations"] == {"note": "x"}
    assert found["spec"]["parentRefs"] == [{"name": "public", "namespace": "gateways"}]
    assert found["spec"]["hostnames"] == ["speech.example.org"]


def test_it_leads_to_the_service_of_the_ray_service() -> None:
    service = one(render(), "RayService")["spec"]["serveService"]["metadata"]["name"]
    assert rule()["backendRefs"] == [{"name": service, "port": 8000}]


def test_headers_that_ray_serve_obeys_are_taken_from_clients() -> None:
    (filters,) = rule()["filters"]
    removed = filters["requestHeaderModifier"]["remove"]
    assert {name.lower() for name in removed} == {
        SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER,
        SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER,
        SERVE_MULTIPLEXED_MODEL_ID,
        SERVE_SESSION_ID,
    }
    assert all(re.fullmatch(HEADER_NAME, name) for name in removed)
    assert len(removed) <= 16  # the most that Gateway API takes


def test_streams_may_last_as_long_as_the_load_balancer_waits() -> None:
    assert rule()["timeouts"] == {"request": "300s", "backendRequest": "300s"}
    assert rule({"lifecycle": {"loadBalancerTimeoutSeconds": 900}})["timeouts"]["request"] == "900s"
