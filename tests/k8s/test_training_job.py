"""The plain Job fits what the chart installs, and is as restricted as the chart's own Jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from serving.launch.template import CONTAINER, KEY
from tests.charts.rendering import Object, one, render

JOB: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "k8s" / "training-job" / "job.yaml").read_text())
POD: dict[str, Any] = JOB["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return render()


@pytest.fixture(scope="module")
def charts_pod(objects: list[Object]) -> dict[str, Any]:
    template: dict[str, Any] = yaml.safe_load(one(objects, "ConfigMap")["data"][KEY])["spec"]["template"]["spec"]
    return template


def container(pod: dict[str, Any]) -> dict[str, Any]:
    return next(found for found in pod["containers"] if found["name"] == CONTAINER)


@pytest.mark.parametrize("version", ["1.34", "1.36", "1.37"])
def test_kubernetes_takes_it(version: str) -> None:
    kubernetes_validate.validate(JOB, version, strict=True)


def test_it_names_what_the_chart_installs(objects: list[Object]) -> None:
    one(objects, "ServiceAccount", POD["serviceAccountName"])
    claim = next(volume for volume in POD["volumes"] if volume["name"] == "data")["persistentVolumeClaim"]["claimName"]
    one(objects, "PersistentVolumeClaim", claim)


def test_it_is_as_restricted_as_the_charts_own_jobs(charts_pod: dict[str, Any]) -> None:
    for field in ("securityContext", "automountServiceAccountToken", "enableServiceLinks", "restartPolicy"):
        assert POD[field] == charts_pod[field], field
    assert container(POD)["securityContext"] == container(charts_pod)["securityContext"]


def test_it_runs_the_charts_image_where_the_chart_would(charts_pod: dict[str, Any]) -> None:
    assert container(POD)["image"] == container(charts_pod)["image"]
    assert POD["tolerations"] == charts_pod["tolerations"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container(POD)["volumeMounts"]}
    assert mounts == {mount["name"]: mount["mountPath"] for mount in container(charts_pod)["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in POD["volumes"]}


def test_it_goes_on_after_a_stop_as_the_charts_own_do(objects: list[Object]) -> None:
    charts = yaml.safe_load(one(objects, "ConfigMap")["data"][KEY])["spec"]
    assert JOB["spec"]["podReplacementPolicy"] == charts["podReplacementPolicy"]
    ignored = [rule for rule in charts["podFailurePolicy"]["rules"] if rule["action"] == "Ignore"]
    assert ignored == [rule for rule in JOB["spec"]["podFailurePolicy"]["rules"] if rule["action"] == "Ignore"]


def test_each_creation_has_a_name_of_its_own() -> None:
    assert "name" not in JOB["metadata"]
    assert JOB["metadata"]["generateName"].endswith("-")
