"""The environment of a benchmark's server."""

from __future__ import annotations

from benchmarks import proxies


def test_behind_pythons_proxy_nothing_is_set() -> None:
    assert proxies.environment("python") == {}


def test_haproxy_is_turned_on_with_ports_that_no_other_server_has() -> None:
    one, other = proxies.environment("haproxy"), proxies.environment("haproxy")
    assert one["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    ports = [name for name in one if name.endswith("_PORT") and "DIRECT_INGRESS" not in name]
    assert len(ports) == 4
    assert {one[name] for name in ports}.isdisjoint(other[name] for name in ports)
