"""templates/network/extra-egress.yaml"""

from tests.charts.network.traffic import allowed, pods
from tests.charts.rendering import made_by, one, render

BOARD = {"tensorboard": {"enabled": True}}
TOLERANT = {"ray": {"gcsFaultTolerance": {"enabled": True}}}

TEMPLATE = "network/extra-egress.yaml"


def test_there_is_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_further_rules_hold_for_pods_that_run_kubevoice() -> None:
    rules = [{"ports": [{"port": 3128}], "to": [{"ipBlock": {"cidr": "10.9.0.1/32"}}]}]
    values = {"networkPolicy": {"extraEgress": rules}, "redis": {"bundled": {"enabled": True}}} | TOLERANT | BOARD
    assert one(made_by(TEMPLATE, values), "NetworkPolicy")["spec"]["egress"] == rules
    objects = render(values)
    reach = {name for name, pod in pods(objects).items() if allowed(objects, pod, "10.9.0.1", 3128)}
    assert reach == {"head", "worker/api", "worker/gpu", "training", "dataset", "test"}


def test_switched_off_there_is_none() -> None:
    policy = {"enabled": False, "extraEgress": [{"ports": [{"port": 3128}]}]}
    assert made_by(TEMPLATE, {"networkPolicy": policy}) == []
