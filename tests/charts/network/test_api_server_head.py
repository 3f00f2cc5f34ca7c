"""templates/network/api-server-head.yaml"""

from tests.charts.network.traffic import allowed, pods
from tests.charts.rendering import made_by, one, render

TEMPLATE = "network/api-server-head.yaml"


def test_the_head_reaches_the_api_server_and_workers_that_speak_do_not() -> None:
    objects = render()
    found = pods(objects)
    assert allowed(objects, found["head"], "10.0.0.1", 443)
    assert not allowed(objects, found["worker/gpu"], "10.0.0.1", 443)


def test_addresses_and_ports_are_those_of_the_values() -> None:
    api_server = {"cidrs": ["10.1.0.1/32", "10.1.0.2/32"], "ports": [8443]}
    spec = one(made_by(TEMPLATE, {"networkPolicy": {"apiServer": api_server}}), "NetworkPolicy")["spec"]
    assert spec["egress"] == [
        {
            "ports": [{"port": 8443}],
            "to": [{"ipBlock": {"cidr": "10.1.0.1/32"}}, {"ipBlock": {"cidr": "10.1.0.2/32"}}],
        }
    ]


def test_switched_off_there_is_none() -> None:
    assert made_by(TEMPLATE, {"networkPolicy": {"enabled": False}}) == []
