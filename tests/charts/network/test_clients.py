"""templates/network/clients.yaml"""

from tests.charts.network.traffic import Pod, allowed, pods
from tests.charts.rendering import made_by, one, render

NAMED = {"kubernetes.io/metadata.name": "web"}

TEMPLATE = "network/clients.yaml"


def test_everyone_may_call_the_api_unless_somebody_is_named() -> None:
    assert one(made_by(TEMPLATE), "NetworkPolicy")["spec"]["ingress"] == [{"ports": [{"port": 8000}]}]


def test_named_clients_and_the_test_pod_may_call_it_and_no_others() -> None:
    objects = render({"networkPolicy": {"clients": [{"namespaceSelector": {"matchLabels": NAMED}}]}})
    found = pods(objects)
    assert allowed(objects, Pod({}, "web"), found["worker/api"], 8000)
    assert allowed(objects, found["test"], found["worker/api"], 8000)
    assert not allowed(objects, Pod({}, "elsewhere"), found["worker/api"], 8000)
    assert not allowed(objects, "203.0.113.7", found["worker/api"], 8000)


def test_switched_off_there_is_none() -> None:
    assert made_by(TEMPLATE, {"networkPolicy": {"enabled": False}}) == []
