"""The examples of k8s/ are valid, and their values fit the chart."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.charts.rendering import CHART, merged, one, profile, render

K8S = Path(__file__).parents[2] / "k8s"
KUBERNETES = "1.34"
CUSTOM = {"kind.x-k8s.io", "argoproj.io", "source.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"}
"""API groups whose schemas are not part of Kubernetes."""

MANIFESTS = sorted(
    path.relative_to(K8S).as_posix() for path in K8S.rglob("*.yaml") if not path.name.startswith("values")
)
STORAGE = [path for path in MANIFESTS if path.startswith("storage/")]


def documents(path: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all((K8S / path).read_text()) if document]


def document(path: str, kind: str) -> dict[str, Any]:
    return next(found for found in documents(path) if found["kind"] == kind)


def values(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((K8S / path).read_text())
    return found


@pytest.mark.parametrize("path", MANIFESTS)
def test_every_manifest_is_what_kubernetes_accepts(path: str) -> None:
    for found in documents(path):
        if found["apiVersion"].split("/")[0] not in CUSTOM:
            kubernetes_validate.validate(found, KUBERNETES, strict=True)


@pytest.mark.parametrize("path", MANIFESTS)
def test_every_manifest_says_when_to_use_it(path: str) -> None:
    first = (K8S / path).read_text().splitlines()[0]
    assert first.startswith("# "), path
    assert len(first) > 30, path


def test_the_readme_lists_every_example() -> None:
    linked = set(re.findall(r"\]\(([\w/.-]+)\)", (K8S / "README.md").read_text()))
    folders = {link.rstrip("/") for link in linked if link.endswith("/")}
    unlisted = [path for path in MANIFESTS if path not in linked and path.split("/")[0] not in folders]
    assert unlisted == []
    assert [link for link in linked if not (K8S / link).exists()] == []


@pytest.mark.parametrize("path", STORAGE)
def test_storage_survives_the_claim_and_is_named_for_the_chart(path: str) -> None:
    storage = document(path, "StorageClass")
    assert storage["reclaimPolicy"] == "Retain"
    claim = one(render({"storage": {"storageClass": storage["metadata"]["name"]}}), "PersistentVolumeClaim")
    assert claim["spec"]["storageClassName"] == "kubevoice"


def test_files_of_an_access_point_belong_to_the_user_of_the_pods() -> None:
    defaults = yaml.safe_load((K8S.parent / "charts" / "kubevoice" / "values.yaml").read_text())
    parameters = document("storage/efs.yaml", "StorageClass")["parameters"]
    assert {parameters["uid"], parameters["gid"]} == {str(defaults["pods"]["userId"])}


def test_the_kind_script_forwards_the_service_that_the_chart_names() -> None:
    service = one(render(profile("dev"), minimal=False), "RayService")["spec"]["serveService"]
    script = (K8S / "kind" / "up.sh").read_text()
    assert "helm upgrade --install voices " in script  # the release is named as these tests name it
    assert f"port-forward service/{service['metadata']['name']} {service['spec']['ports'][0]['port']}" in script


@pytest.mark.parametrize("name", ["time-slicing", "mig"])
def test_a_shared_gpu_is_asked_for_by_the_name_that_the_node_gives_it(name: str) -> None:
    given = values(f"gpu-sharing/values-{name}.yaml")
    cluster = one(render(given), "RayService")["spec"]["rayClusterConfig"]
    group = next(found for found in cluster["workerGroupSpecs"] if found["groupName"] in {"slices", "mig"})
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    resource = "nvidia.com/gpu" if name == "time-slicing" else "nvidia.com/mig-2g.20gb"
    assert int(limits[resource]) == 1
    assert group["rayStartParams"]["num-gpus"] == "1"  # KubeRay derives it from names that end in gpu only


def test_the_mig_geometry_has_the_instances_that_the_values_ask_for() -> None:
    config = yaml.safe_load(document("gpu-sharing/mig.yaml", "ConfigMap")["data"]["config.yaml"])
    instances = config["mig-configs"]["thirds"][0]["mig-devices"]
    group = values("gpu-sharing/values-mig.yaml")["workerGroups"][1]
    assert group["gpuResource"] == f"nvidia.com/mig-{next(iter(instances))}"


def test_argo_cd_renders_the_chart_with_the_values_it_is_given() -> None:
    source = document("gitops/argo-cd.yaml", "Application")["spec"]["source"]
    assert source["helm"]["valueFiles"] == ["values-gpu.yaml"]
    objects = render(merged(profile("gpu"), source["helm"]["valuesObject"]), minimal=False)
    generated = [found["metadata"]["name"] for found in objects if found["kind"] == "Secret"]
    assert generated == [], "Argo CD would make another key at every sync"


def test_flux_renders_the_chart_with_the_values_it_is_given() -> None:
    release = document("gitops/flux.yaml", "HelmRelease")["spec"]
    assert release["chart"]["spec"]["valuesFiles"][-1].endswith("values-gpu.yaml")
    objects = render(merged(profile("gpu"), release["values"]), minimal=False)
    one(objects, "RayService")


def test_flux_waits_until_the_release_can_speak_and_has_a_key_for_it() -> None:
    """What fails the test is rolled back: a pod that still starts, or a key that it did not send, must not."""
    release = document("gitops/flux.yaml", "HelmRelease")["spec"]
    objects = render(merged(profile("gpu"), release["values"]), minimal=False)
    args = next(found for found in objects if found["kind"] == "Pod")["spec"]["containers"][0]["args"]
    waits_s = int(args[args.index("--timeout") + 1])
    assert (
        yaml.safe_load((CHART / "values.yaml").read_text())["lifecycle"]["startupSeconds"]
        <= waits_s
        < 60 * int(release["timeout"].removesuffix("m"))
    )
    assert "--key-file" in args


def test_the_kind_script_is_valid_shell_and_names_files_that_exist() -> None:
    script = K8S / "kind" / "up.sh"
    subprocess.run(["bash", "-n", script], check=True, timeout=10)
    for path in re.findall(r"(?:k8s|charts)/[\w./-]+", script.read_text()):
        assert (K8S.parent / path).exists(), path
