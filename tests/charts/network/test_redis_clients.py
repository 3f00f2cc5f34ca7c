"""templates/network/redis-clients.yaml"""

from typing import Any

from tests.charts.rendering import made_by, merged, one, render

TOLERANT: dict[str, Any] = {"ray": {"gcsFaultTolerance": {"enabled": True}}, "redis": {"address": "redis:6379"}}
OFF = {"networkPolicy": {"enabled": False}}

TEMPLATE = "network/redis-clients.yaml"


def rule(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = one(made_by(TEMPLATE, merged(TOLERANT, values)), "NetworkPolicy")["spec"]["egress"][0]
    return found


def test_without_fault_tolerance_nobody_needs_redis() -> None:
    assert made_by(TEMPLATE) == []


def test_a_redis_of_yours_is_reached_on_its_port() -> None:
    assert rule({"redis": {"address": "redis.example.org:6390"}}) == {"ports": [{"port": 6390}]}


def test_named_addresses_are_the_only_ones() -> None:
    values = {"redis": {"address": "redis:6379"}, "networkPolicy": {"databases": ["10.2.0.0/16"]}}
    assert rule(values)["to"] == [{"ipBlock": {"cidr": "10.2.0.0/16"}}]


def test_the_bundled_one_is_reached_by_its_label() -> None:
    values = merged(TOLERANT, {"redis": {"address": "", "bundled": {"enabled": True}}})
    (peer,) = rule(values)["to"]
    labels = one(render(values), "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert peer["podSelector"]["matchLabels"] == labels


def test_switched_off_there_is_none() -> None:
    assert made_by(TEMPLATE, merged(TOLERANT, OFF)) == []
