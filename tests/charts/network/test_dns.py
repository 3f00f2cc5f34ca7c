"""templates/network/dns.yaml"""

from tests.charts.rendering import made_by, one

TEMPLATE = "network/dns.yaml"


def test_names_may_be_asked_of_any_server() -> None:
    spec = one(made_by(TEMPLATE), "NetworkPolicy")["spec"]
    (rule,) = spec["egress"]
    assert "to" not in rule
    assert {(port["port"], port["protocol"]) for port in rule["ports"]} >= {(53, "UDP"), (53, "TCP")}
    assert spec["policyTypes"] == ["Egress"]


def test_switched_off_there_is_none() -> None:
    assert made_by(TEMPLATE, {"networkPolicy": {"enabled": False}}) == []
