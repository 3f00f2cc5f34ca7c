"""Where pods may run: what every pod is asked for, and what a pod's own values add."""

from __future__ import annotations

from typing import Any

import pytest

from tests.charts.matrix.features import EVERYTHING, TAINT
from tests.charts.objects import pod_templates
from tests.charts.rendering import merged, render

DEDICATED = {"key": "dedicated", "operator": "Equal", "value": "speech", "effect": "NoSchedule"}
EVERYWHERE: dict[str, Any] = {"pods": {"nodeSelector": {"pool": "speech"}, "tolerations": [DEDICATED]}}
RELEASE = dict(pod_templates(render(merged(EVERYTHING, EVERYWHERE))))


def test_no_kind_of_pod_is_left_out() -> None:
    kinds = {owner.partition("/")[0] for owner in RELEASE}
    assert kinds == {"RayService", "StatefulSet", "Deployment", "Job", "Pod", "ConfigMap"}


@pytest.mark.parametrize("owner", RELEASE)
def test_every_pod_tolerates_and_requires_what_all_are_asked_for(owner: str) -> None:
    spec = RELEASE[owner]["spec"]
    assert DEDICATED in spec["tolerations"]
    assert spec["nodeSelector"] == {"pool": "speech"}


def test_a_pod_keeps_its_own_taints_beside_them() -> None:
    for owner, template in RELEASE.items():
        on_gpus = owner.endswith(("/gpu", ": job.yaml"))
        assert (TAINT in template["spec"]["tolerations"]) == on_gpus, owner


def test_a_label_of_the_pod_s_own_counts() -> None:
    values = merged(EVERYWHERE, {"ray": {"head": {"nodeSelector": {"pool": "control", "size": "large"}}}})
    head = dict(pod_templates(render(values)))["RayService/voices-kubevoice/head"]
    assert head["spec"]["nodeSelector"] == {"pool": "control", "size": "large"}


def test_without_them_a_pod_has_neither() -> None:
    for owner, template in pod_templates(render(EVERYTHING)):
        assert "nodeSelector" not in template["spec"], owner
        assert ("tolerations" in template["spec"]) == (owner.endswith(("/gpu", ": job.yaml"))), owner
