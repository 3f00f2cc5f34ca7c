"""The profiles: complete but for what their heads ask for, and what each promises."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from helm_python.errors import HelmRenderError

from tests.charts.objects import containers, pod_templates
from tests.charts.rendering import ASKED_FOR, CHART, PROFILES, Object, installable, merged, one, profile, render


def cluster(name: str) -> Object:
    found: Object = one(render(installable(name)), "RayService")["spec"]["rayClusterConfig"]
    return found


def asked(name: str) -> list[str]:
    """The keys that the head of a profile asks for: the first word of each indented line that names one."""
    head = (CHART / f"values-{name}.yaml").read_text().split("\nsettings:")[0]
    return re.findall(r"^#   ([a-z]\w*(?:\.\w+)+)", head, re.MULTILINE)


def test_every_profile_is_known_here() -> None:
    assert {path.stem.removeprefix("values-") for path in CHART.glob("values-*.yaml")} == set(PROFILES)


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_says_on_its_first_line_when_to_take_it(name: str) -> None:
    assert (CHART / f"values-{name}.yaml").read_text().startswith("# ")


@pytest.mark.parametrize("name", PROFILES)
def test_what_a_profile_asks_for_are_keys_of_the_values(name: str) -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    for key in asked(name):
        found: Any = defaults
        for part in key.split("."):
            assert part in found, f"values-{name}.yaml asks for {key}"
            found = found[part]


def test_the_small_one_asks_for_nothing() -> None:
    assert asked("dev") == []
    one(render(profile("dev"), minimal=False), "RayService")


@pytest.mark.parametrize(
    ("name", "words"),
    [("gpu", ("acceptLicence", "postgresql.existingSecret.name")), ("ha", ("acceptLicence",))],
)
def test_without_what_it_asks_for_it_is_refused_by_name(name: str, words: tuple[str, ...]) -> None:
    with pytest.raises(HelmRenderError) as refused:
        render(profile(name), minimal=False)
    for word in words:
        assert word in str(refused.value)


def test_the_small_one_fits_a_laptop() -> None:
    requests = [
        container["resources"]["requests"]
        for owner, template in pod_templates(render(installable("dev")))
        if "speaks" not in owner and "training" not in owner
        for container in containers(template)
    ]
    cpus = sum(float(found["cpu"].removesuffix("m")) / (1000 if "m" in found["cpu"] else 1) for found in requests)
    units = {"Mi": 1 / 1024, "Gi": 1}
    memory = sum(float(found["memory"][:-2]) * units[found["memory"][-2:]] for found in requests)
    assert cpus <= 3
    assert memory <= 7
    assert not any("nvidia" in name for found in requests for name in found)


def test_the_small_one_keeps_everything_on_one_node() -> None:
    objects = render(installable("dev"))
    assert one(objects, "PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteOnce"]
    for owner, template in pod_templates(objects):
        if any("persistentVolumeClaim" in volume for volume in template["spec"].get("volumes", [])):
            assert "podAffinity" in template["spec"]["affinity"], owner


def test_the_gpu_one_brings_the_weights_and_gpus() -> None:
    one(render(installable("gpu")), "Job")
    groups = {group["groupName"]: group for group in cluster("gpu")["workerGroupSpecs"]}
    assert groups["gpu"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_the_available_one_survives_the_loss_of_any_pod() -> None:
    objects, ray = render(installable("ha")), cluster("ha")
    assert ray["gcsFaultToleranceOptions"]["redisAddress"]
    assert sum(group["minReplicas"] for group in ray["workerGroupSpecs"] if group["groupName"] == "api") >= 2
    assert sum(group["minReplicas"] for group in ray["workerGroupSpecs"] if group["groupName"] != "api") >= 2
    kinds = [item["kind"] for item in objects]
    assert kinds.count("PodDisruptionBudget") == 2
    assert kinds.count("PriorityClass") == 2
    assert "StatefulSet" not in kinds, "bundled databases are one pod each"


def test_the_available_one_watches_itself() -> None:
    assert {"PodMonitor", "PrometheusRule"} <= {item["kind"] for item in render(installable("ha"))}


def test_accepting_the_licence_is_left_to_the_user() -> None:
    for name in PROFILES:
        download = profile(name).get("models", {}).get("xtts", {}).get("download", {})
        assert "acceptLicence" not in download
        assert merged(profile(name), ASKED_FOR[name]) == merged(ASKED_FOR[name], profile(name))
