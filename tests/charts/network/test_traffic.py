"""All policies of templates/network/ together: what gets through to and from the pods of the chart, and what not."""

import functools
import itertools
from typing import Any

import pytest

from tests.charts.network.traffic import End, Pod, allowed, pods
from tests.charts.rendering import Object, render

EVERYTHING: dict[str, Any] = {
    "postgresql": {"existingSecret": {"name": ""}, "bundled": {"enabled": True}},
    "redis": {"bundled": {"enabled": True}},
    "ray": {"gcsFaultTolerance": {"enabled": True}},
    "models": {"xtts": {"download": {"enabled": True, "acceptLicence": True}}},
    "training": {"nodes": 2},
    "tensorboard": {"enabled": True},
    "networkPolicy": {"tensorboard": [{"podSelector": {"matchLabels": {"app": "portal"}}}]},
}
STRANGER = Pod({"app": "anything"}, "elsewhere")
NEIGHBOUR = Pod({"app": "anything"})
PORTAL = Pod({"app": "portal"})
OPERATOR = Pod({"app.kubernetes.io/component": "kuberay-operator"}, "kuberay")
INTERNET, API_SERVER = "203.0.113.7", "10.0.0.1"
NAMES = ["head", "worker/api", "worker/gpu", "postgresql", "redis", "model-download", "test"]
NAMES += ["training", "dataset", "tensorboard"]
RAY = ["head", "worker/api", "worker/gpu"]
RAY_PORTS = [6379, 6380, 6381, 6382, 6383, 8000, 8080, 8265, 8500, 10002, 19999, 30000, 31000, 32768, 52365, 60999]


@functools.cache
def release() -> list[Object]:
    return render(EVERYTHING)


def end(name: str) -> End:
    named: dict[str, End] = {
        "stranger": STRANGER,
        "neighbour": NEIGHBOUR,
        "portal": PORTAL,
        "operator": OPERATOR,
        "internet": INTERNET,
        "api server": API_SERVER,
    }
    return named.get(name) or pods(release())[name]


def test_the_chart_makes_the_pods_that_are_judged_here() -> None:
    assert sorted(pods(release())) == sorted(NAMES)


def test_pods_of_the_ray_cluster_reach_each_others_ports() -> None:
    for source, destination, port in itertools.product(RAY, RAY, RAY_PORTS):
        assert allowed(release(), end(source), end(destination), port), (source, destination, port)


def test_the_ports_of_haproxy_are_open_where_it_runs_only() -> None:
    without = render({"ray": {"haProxy": False}})
    head, worker = (pods(without)[name] for name in ("head", "worker/api"))
    for port in (8404, 8500, 30000):
        assert not allowed(without, head, worker, port), port
    assert allowed(without, head, worker, 8000)


@pytest.mark.parametrize(
    ("source", "destination", "port"),
    [
        ("internet", "worker/api", 8000),
        ("stranger", "worker/gpu", 8000),
        ("test", "worker/api", 8000),
        ("operator", "head", 8265),
        ("operator", "worker/api", 8000),
        ("stranger", "head", 8080),
        ("stranger", "head", 44217),
        ("stranger", "worker/gpu", 9101),
        ("head", "api server", 6443),
        ("worker/api", "api server", 443),
        ("worker/api", "postgresql", 5432),
        ("head", "redis", 6379),
        ("model-download", "internet", 443),
        ("training", "training", 29400),
        ("training", "training", 51234),
        ("portal", "tensorboard", 6006),
    ],
)
def test_what_is_needed_gets_through(source: str, destination: str, port: int) -> None:
    assert allowed(release(), end(source), end(destination), port)


@pytest.mark.parametrize(
    ("source", "destination", "port"),
    [
        ("stranger", "head", 8265),  # runs code for whoever comes with the token
        ("neighbour", "head", 6379),
        ("neighbour", "worker/gpu", 10002),
        ("internet", "head", 8265),
        ("operator", "head", 6379),
        ("stranger", "head", 8000),  # the Service leaves the head out
        ("test", "head", 8265),
        ("training", "head", 6379),
        ("training", "head", 8265),
        ("model-download", "head", 8265),
        ("stranger", "postgresql", 5432),
        ("worker/gpu", "postgresql", 5432),
        ("training", "postgresql", 5432),
        ("worker/api", "redis", 6379),
        ("worker/gpu", "api server", 443),
        ("training", "api server", 443),
        ("training", "internet", 443),
        ("neighbour", "training", 29400),
        ("training", "dataset", 29400),
        ("dataset", "training", 29400),
        ("dataset", "internet", 443),
        ("worker/api", "training", 29400),
        ("neighbour", "tensorboard", 6006),
        ("stranger", "tensorboard", 6006),
        ("worker/api", "tensorboard", 6006),
        ("tensorboard", "internet", 443),
        ("tensorboard", "api server", 443),
        ("tensorboard", "postgresql", 5432),
        ("worker/gpu", "internet", 443),
        ("head", "internet", 80),
        ("postgresql", "internet", 443),
        ("redis", "internet", 443),
        ("model-download", "internet", 22),
    ],
)
def test_the_rest_does_not(source: str, destination: str, port: int) -> None:
    assert not allowed(release(), end(source), end(destination), port)


def test_every_pod_but_the_bundled_databases_and_tensorboard_asks_for_names() -> None:
    dns = Pod({"k8s-app": "kube-dns"}, "kube-system")
    quiet = ("postgresql", "redis", "tensorboard")
    for name in NAMES:
        for protocol in ("UDP", "TCP"):
            assert allowed(release(), end(name), dns, 53, protocol) is (name not in quiet), name


def test_switched_off_there_are_no_policies() -> None:
    assert not [item for item in render({"networkPolicy": {"enabled": False}}) if item["kind"] == "NetworkPolicy"]
