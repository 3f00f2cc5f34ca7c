"""What stands in front of the ingress in a benchmark: HAProxy, as the chart deploys it, or Serve's Python proxy."""

from __future__ import annotations

from tests.e2e.ports import free_port, ingress_ports

PROXIES = ("haproxy", "python")
PROCESSES = ("ProxyActor", "haproxy")
"""What their processes have in their command lines."""

_PORTS = ("HAPROXY_STATS", "HAPROXY_METRICS", "FALLBACK_PROXY_HTTP", "FALLBACK_PROXY_GRPC")


def environment(proxy: str) -> dict[str, str]:
    """Variables of a server behind ``proxy``, on ports of its own."""
    if proxy == "python":
        return {}
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",  # the end of the benchmark waits for it
        **ingress_ports("benchmark"),
        **{f"RAY_SERVE_{name}_PORT": str(free_port()) for name in _PORTS},
    }
