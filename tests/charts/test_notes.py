"""templates/NOTES.txt"""

from typing import Any

import pytest

from tests.charts.rendering import NAMESPACE, RELEASE, notes


def test_they_tell_the_next_commands() -> None:
    text = notes()
    assert f"kubectl --namespace {NAMESPACE} wait rayservice/voices-kubevoice --for=condition=Ready" in text
    assert f"helm test {RELEASE} --namespace {NAMESPACE}" in text
    assert "port-forward service/voices-kubevoice 8000" in text
    assert "/v1/audio/speech" in text


def test_a_download_is_announced() -> None:
    assert "voices-kubevoice-model-" not in notes()
    download = {"enabled": True, "acceptLicence": True}
    assert "voices-kubevoice-model-" in notes({"models": {"xtts": {"download": download}}})


def test_the_address_is_that_of_the_ingress_the_route_or_the_gateway() -> None:
    opened: dict[str, Any] = {"exposure": {"allowUnauthenticated": True}}
    ingress = {"enabled": True, "hosts": ["speech.example.org"], "tlsSecret": "cert"}
    assert "https://$address" in (text := notes(opened | {"ingress": ingress}))
    assert "address=speech.example.org" in text
    route = {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["voice.example.org"]}
    assert "address=voice.example.org" in notes(opened | {"route": route})
    upgrade = {"type": "NewClusterWithIncrementalUpgrade", "gatewayClassName": "istio"}
    assert "get gateway voices-kubevoice-gateway" in notes(opened | {"upgrade": upgrade})


def test_tensorboard_is_found() -> None:
    assert "tensorboard" not in notes()
    assert "port-forward service/voices-kubevoice-tensorboard 6006" in notes({"tensorboard": {"enabled": True}})


def test_dashboards_and_alerts_are_found() -> None:
    monitoring = {"dashboards": {"enabled": True, "labels": {"team": "x"}}, "rules": {"enabled": True}}
    text = notes({"monitoring": monitoring})
    assert f"-l app.kubernetes.io/instance={RELEASE},grafana_dashboard=1,team=x" in text
    assert "get prometheusrule voices-kubevoice" in text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"postgresql": {"existingSecret": {"name": ""}, "bundled": {"enabled": True}}},
            "postgresql.bundled has no backup",
        ),
        ({"ray": {"gcsFaultTolerance": {"enabled": True}}, "redis": {"bundled": {"enabled": True}}}, "redis.bundled"),
        ({}, "ray.gcsFaultTolerance"),
        ({}, "secrets.existingSecret"),
        ({}, "worker group gpu has no PodDisruptionBudget"),
        ({}, "nothing watches it"),
        ({}, "training.gpuQuota is empty"),
        ({"speech": {"minReplicas": 0}}, "speech.minReplicas is 0"),
        ({"networkPolicy": {"enabled": False}}, "networkPolicy.enabled is off"),
        (
            {"networkPolicy": {"enabled": False}, "tensorboard": {"enabled": True}},
            "the ports of Ray and TensorBoard, which has no login",
        ),
        ({"podDisruptionBudgets": {"training": True}}, "podDisruptionBudgets.training is on"),
        ({"ray": {"authentication": False}}, "ray.authentication is off"),
        ({"exposure": {"allowUnauthenticated": True}}, "until there is an API key"),
        (
            {"ingress": {"enabled": True, "hosts": ["a.example.org"]}, "exposure": {"allowUnauthenticated": True}},
            "x-request-timeout-seconds",
        ),
    ],
)
def test_what_an_operator_should_know_is_said(values: dict[str, Any], words: str) -> None:
    assert words in notes(values)


def test_a_group_that_may_have_no_pods_needs_no_budget() -> None:
    usual = {"maxReplicas": 3, "resources": {"requests": {"cpu": "2"}}}
    group = {"runs": ["speech"], "gpus": 1, **usual}
    front = {"name": "front", "runs": ["api"], "minReplicas": 2, **usual}
    groups = [front, group | {"name": "steady", "minReplicas": 1}, group | {"name": "burst", "minReplicas": 0}]
    text = notes({"workerGroups": groups})
    assert "worker group steady has no PodDisruptionBudget" in text
    assert "worker group burst" not in text
    assert "worker group front" not in text


def test_a_release_with_nothing_to_warn_of_warns_of_nothing() -> None:
    values: dict[str, Any] = {
        "secrets": {"existingSecret": "keys"},
        "ray": {"gcsFaultTolerance": {"enabled": True}},
        "redis": {"address": "redis:6379"},
        "podDisruptionBudgets": {"enabled": False},
        "training": {"enabled": False},
        "monitoring": {"podMonitors": {"enabled": True}, "rules": {"enabled": True}},
    }
    assert "Before people depend on it" not in notes(values)
    assert "Before people depend on it" in notes()
