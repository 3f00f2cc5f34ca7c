"""Release N over N-1: nothing that the API server refuses, nothing with state lost, no new Ray cluster without a cause.

That no key is made anew is shown by tests/charts/secrets/test_keys.py, which answers Helm's lookup.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from helm_python import Chart

from tests.charts.immutable import dropped, refused
from tests.charts.matrix.features import BUNDLED, BUNDLED_REDIS, CLASSES, DOWNLOAD, EVERYTHING, MONITORED
from tests.charts.rendering import CHART, PROFILES, Object, installable, merged, one, render_texts, with_database

NEXT = {"version": "0.2.0", "appVersion": "0.2.0"}

STARTS: dict[str, dict[str, Any]] = {
    **{name: installable(name) for name in PROFILES},
    "everything": EVERYTHING,
    "both bundled": merged(BUNDLED, BUNDLED_REDIS),
}

CHANGES: dict[str, dict[str, Any]] = {
    "nothing but the version": {},
    "another image": {"image": {"repository": "mirror.example.org/kubevoice", "tag": "9.9", "pullPolicy": "Always"}},
    "labels and annotations": {
        "labels": {"team": "speech"},
        "annotations": {"a/b": "c"},
        "pods": {"labels": {"cost": "speech"}, "annotations": {"a/b": "c"}},
    },
    "more replicas": {"speech": {"maxReplicas": 2, "minReplicas": 0}, "api": {"maxReplicas": 2, "minReplicas": 1}},
    "settings": {"settings": {"log": {"level": "DEBUG"}, "limits": {"input_chars": 99}}},
    "pods": {
        "pods": {"sharedMemory": "2Gi", "env": [{"name": "A", "value": "b"}]},
        "imagePullSecrets": [{"name": "r"}],
    },
    "a larger volume": {"storage": {"size": "2Ti", "keep": True}},
    "larger bundled databases": {
        "postgresql": {
            "bundled": {"image": "docker.io/library/postgres:17.9-alpine", "resources": {"limits": {"memory": "2Gi"}}}
        },
        "redis": {"bundled": {"resources": {"limits": {"memory": "1Gi"}}}},
    },
    "another revision of the weights": {"models": {"xtts": {"download": {"revision": "v2.0.3", "backoffLimit": 2}}}},
    "training": {"training": {"backoffLimit": 1, "resources": {"limits": {"memory": "64Gi"}}}},
    "TensorBoard": {"tensorboard": {"enabled": True, "resources": {"limits": {"memory": "2Gi"}}}},
    "no training": {"training": {"enabled": False}},
    "no network policies and budgets": {
        "networkPolicy": {"enabled": False},
        "podDisruptionBudgets": {"enabled": False},
    },
    "monitoring": MONITORED,
    "times": {"lifecycle": {"startupSeconds": 900, "preStopSeconds": 5}},
    "no HAProxy": {"ray": {"haProxy": False}},
}


@pytest.fixture(scope="module")
def following(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chart]:
    """The chart as its next version."""
    folder = shutil.copytree(CHART, tmp_path_factory.mktemp("charts") / "kubevoice")
    about = folder / "Chart.yaml"
    about.write_text(yaml.safe_dump(yaml.safe_load(about.read_text()) | NEXT))
    chart = Chart.load(folder)
    yield chart
    chart.close()


def objects(values: dict[str, Any], of: Chart | None = None) -> list[Object]:
    """Everything but dashboards, which are large and have nothing that is fixed."""
    texts = render_texts(values, of=of, upgrade=of is not None)
    return [
        item
        for template, text in texts.items()
        if template != "monitoring/dashboards.yaml"
        for item in yaml.load_all(text, yaml.CSafeLoader)
        if item
    ]


@pytest.mark.parametrize("start", STARTS)
def test_an_upgrade_changes_nothing_that_is_fixed_and_drops_nothing_with_state(start: str, following: Chart) -> None:
    before = with_database(STARTS[start])
    installed = objects(before)
    for change, values in CHANGES.items():
        upgraded = objects(merged(before, values), following)
        assert list(refused(installed, upgraded)) == [], change
        assert dropped(installed, upgraded) == [], change


@pytest.mark.parametrize("start", STARTS)
def test_a_new_version_of_the_chart_with_the_same_image_keeps_the_ray_cluster(start: str, following: Chart) -> None:
    values = merged(with_database(STARTS[start]), {"image": {"tag": "1.0"}})
    earlier, later = (one(found, "RayService") for found in (objects(values), objects(values, following)))
    assert later["spec"] == earlier["spec"]
    assert later["metadata"]["labels"]["helm.sh/chart"] != earlier["metadata"]["labels"]["helm.sh/chart"]


def test_a_new_version_of_the_application_makes_a_new_ray_cluster(following: Chart) -> None:
    values = installable("gpu")
    earlier, later = (one(found, "RayService") for found in (objects(values), objects(values, following)))
    assert later["spec"]["rayClusterConfig"] != earlier["spec"]["rayClusterConfig"]


def test_a_changed_download_is_another_job() -> None:
    values = with_database(DOWNLOAD)
    changed = merged(values, {"models": {"xtts": {"download": {"revision": "v2.0.3"}}}})
    earlier, later = (one(objects(found), "Job") for found in (values, changed))
    assert earlier["metadata"]["name"] != later["metadata"]["name"]


SPOILT: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "a label in the volumes of a database": (
        "StatefulSet",
        lambda item: item["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"].update(version="2"),
        "spec.volumeClaimTemplates changes",
    ),
    "another selector of a database": (
        "StatefulSet",
        lambda item: item["spec"]["selector"]["matchLabels"].update(version="2"),
        "spec.selector changes",
    ),
    "another selector of TensorBoard": (
        "Deployment",
        lambda item: item["spec"]["selector"]["matchLabels"].update(version="2"),
        "spec.selector changes",
    ),
    "another pod of a Job": (
        "Job",
        lambda item: item["spec"]["template"]["spec"].update(enableServiceLinks=True),
        "spec.template changes",
    ),
    "another class of the volume": (
        "PersistentVolumeClaim",
        lambda item: item["spec"].update(storageClassName="other"),
        "spec.storageClassName changes from None to 'other'",
    ),
    "another role of a binding": ("RoleBinding", lambda item: item["roleRef"].update(name="admin"), "roleRef changes"),
    "a Service without an address of its own": (
        "Service",
        lambda item: item["spec"].update(clusterIP="None"),
        "spec.clusterIP changes",
    ),
    "another value of a priority class": ("PriorityClass", lambda item: item.update(value=7), "value changes"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_it_would_be_noticed(what: str) -> None:
    kind, spoil, words = SPOILT[what]
    before = objects(merged(with_database(EVERYTHING), CLASSES))
    after = copy.deepcopy(before)
    spoil(next(item for item in after if item["kind"] == kind))
    assert any(words in problem for problem in refused(before, after)), list(refused(before, after))
    assert list(refused(before, before)) == []


def test_a_lost_claim_would_be_noticed() -> None:
    before = objects(with_database(EVERYTHING))
    after = [item for item in before if item["kind"] != "PersistentVolumeClaim"]
    assert dropped(before, after) == ["PersistentVolumeClaim/voices-kubevoice-data"]
