"""templates/network/operator.yaml"""

from tests.charts.rendering import made_by, one

TEMPLATE = "network/operator.yaml"


def test_pods_labelled_as_its_chart_labels_them_are_the_operator() -> None:
    rule = one(made_by(TEMPLATE), "NetworkPolicy")["spec"]["ingress"][0]
    assert [port["port"] for port in rule["ports"]] == [8265, 52365, 8000]
    label = {"app.kubernetes.io/component": "kuberay-operator"}
    assert rule["from"] == [{"namespaceSelector": {}, "podSelector": {"matchLabels": label}}]


def test_the_values_say_where_else_it_runs() -> None:
    peers = [{"ipBlock": {"cidr": "172.16.0.0/28"}}]
    rule = one(made_by(TEMPLATE, {"networkPolicy": {"operator": peers}}), "NetworkPolicy")["spec"]["ingress"][0]
    assert rule["from"] == peers


def test_switched_off_there_is_none() -> None:
    assert made_by(TEMPLATE, {"networkPolicy": {"enabled": False}}) == []
