"""templates/checks.yaml: values that are fine alone and wrong together are refused with a sentence for each."""

from __future__ import annotations

import re

import pytest
from helm_python.errors import HelmRenderError

from serving.settings_groups import LimitSettings
from tests.charts.refusals import REFUSED
from tests.charts.refusals.values import API, GPU, INCREMENTAL, TOLERANT, Values, groups, scaler
from tests.charts.rendering import CHART, MINIMAL, NAMESPACE, chart, made_by, merged

ACCEPTED: dict[str, Values] = {
    "seconds that leave one between each": {
        "lifecycle": {"terminationGracePeriodSeconds": 221, "loadBalancerTimeoutSeconds": 222},
        "upgrade": {"deletionDelaySeconds": 210},
    },
    "no delay where nothing is ever deleted": {"upgrade": {"type": "None", "deletionDelaySeconds": 0}},
    "a volume of one node on one node": {"storage": {"accessMode": "ReadWriteOnce", "singleNode": True}},
    "all GPUs of the cluster between serving and training": {
        "gpuPool": 3,
        "training": {"gpuQuota": 2},
        "priorityClasses": {"training": "low"},
    },
    "a Job of several nodes that takes all of the quota": {
        "training": {"gpuQuota": 4, "gpus": 2, "nodes": 2},
        "priorityClasses": {"training": "low"},
    },
    "a quota of none as a pause of training": {
        "training": {"gpuQuota": 0},
        "priorityClasses": {"training": "low"},
    },
    "as many replicas as fit, one replaced at a time": {
        "speech": {"maxReplicas": 3, "maxSurgePercent": 0},
        "api": {"maxReplicas": 8},
    },
    "four replicas on each GPU": {"speech": {"maxReplicas": 11, "gpus": 0.25, "cpus": 1}},
    "replicas of two GPUs": groups(API, {**GPU, "gpus": 4}, speech={"maxReplicas": 5, "gpus": 2}),
    "groups that stand in for each other": groups(
        API, GPU, {**GPU, "name": "spare"}, gpuPool=4, training={"enabled": False}, speech={"maxReplicas": 4}
    ),
    "replicas that take no CPU": {"speech": {"cpus": 0}, "api": {"cpus": 0}},
    "XTTS on the CPU": groups(
        API,
        {**GPU, "gpus": 0},
        settings={"xtts": {"device": "cpu"}},
        speech={"maxReplicas": 3},
    ),
    "CPUs that round up to whole ones, as Ray counts": groups(
        {**API, "resources": {"limits": {"cpu": "1500m"}, "requests": {"cpu": "100m"}}}, GPU, api={"maxReplicas": 8}
    ),
    "a target that is the limit": {"speech": {"targetOngoingRequests": LimitSettings().ongoing_per_replica}},
    "a Redis that nothing uses yet": {"redis": {"address": "redis:6379", "bundled": {"enabled": True}}},
    "an autoscaler of something else": {
        "extraObjects": [
            scaler("ScaledObject", "Deployment", "voices-kubevoice-frontend"),
            scaler("ScaledObject", "RayCluster", "another-release"),
        ]
    },
    "an alert that is one is switched off": {"monitoring": {"rules": {"disabled": ["KubevoiceNotReady"]}}},
    "an incremental upgrade": INCREMENTAL,
}


def refusal(values: Values, release: str = "voices") -> list[str]:
    """The lines that Helm prints instead of rendering, without the first."""
    with pytest.raises(HelmRenderError) as refused:
        chart().render(merged(MINIMAL, values), name=release, namespace=NAMESPACE, is_install=True)
    head, *lines = str(refused.value).strip().splitlines()
    assert head.endswith("values that do not fit together:")
    return [line for line in lines if line]


@pytest.mark.parametrize("case", REFUSED)
def test_values_that_do_not_fit_together_are_refused_because(case: str) -> None:
    values, pieces = REFUSED[case]
    lines = refusal(values)
    assert any(all(piece in line for piece in pieces) for line in lines), lines
    assert all(re.fullmatch(r"- .+: .+", line) for line in lines), "each says what is wrong and what to do"
    assert "hidden" not in str(lines)


@pytest.mark.parametrize("case", ACCEPTED)
def test_values_that_just_fit_are_taken(case: str) -> None:
    assert made_by("checks.yaml", ACCEPTED[case]) == []


def test_one_cause_has_one_sentence() -> None:
    doubled = {case: lines for case, (values, _) in REFUSED.items() if len(lines := refusal(values)) > 1}
    assert doubled == {}


def test_all_problems_are_told_at_once() -> None:
    values = {"lifecycle": {"loadBalancerTimeoutSeconds": 1}, "storage": {"accessMode": "ReadWriteOnce"}, **TOLERANT}
    assert len(refusal(values)) == 3


@pytest.mark.parametrize("release", ["1st", "my.voices"])
def test_a_release_name_that_no_service_can_have_is_refused(release: str) -> None:
    (line,) = refusal({}, release)
    assert f"{release}-kubevoice" in line
    assert "fullnameOverride" in line
    chart().render(merged(MINIMAL, {"fullnameOverride": "voices"}), name=release, namespace=NAMESPACE, is_install=True)


def test_the_limit_that_targets_are_compared_with_is_the_application_s_default() -> None:
    limit = LimitSettings().ongoing_per_replica
    (line,) = refusal({"speech": {"targetOngoingRequests": limit + 1}})
    assert f"settings.limits.ongoing_per_replica ({limit})" in line


def test_the_readme_shows_what_is_said() -> None:
    (line,) = refusal({"lifecycle": {"terminationGracePeriodSeconds": 60}})
    shown = " ".join((CHART / "README.md").read_text().split())
    assert f"values that do not fit together: {line}" in shown
