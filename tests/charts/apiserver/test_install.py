"""Helm installs, upgrades and rolls back the chart on a real API server.

Runs where ``KUBEBUILDER_ASSETS`` names a folder with ``etcd`` and ``kube-apiserver`` (as ``setup-envtest use -p path``
makes it); there are no controllers, so objects are stored and checked, and no pod runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Chart, Config
from kubernetes import config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient

from tests.charts.apiserver.control_plane import ControlPlane, assets, running
from tests.charts.apiserver.custom_resources import definitions
from tests.charts.objects import pod_templates
from tests.charts.rendering import CHART, NAMESPACE, RELEASE, Object, installable, merged, profile, render

pytestmark = [
    pytest.mark.skipif(assets() is None, reason="KUBEBUILDER_ASSETS is not set; see CONTRIBUTING.md"),
    pytest.mark.xdist_group("apiserver"),
    pytest.mark.timeout(300),
]

VALUES = merged(profile("dev"), {"monitoring": {"podMonitors": {"enabled": True}, "rules": {"enabled": True}}})


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    binaries = assets()
    assert binaries is not None
    with running(binaries, tmp_path_factory.mktemp("control-plane")) as started:
        yield started


@pytest.fixture(scope="module")
def api(plane: ControlPlane) -> DynamicClient:
    connection = config.new_client_from_config_dict(yaml.safe_load(plane.kubeconfig))  # type: ignore[no-untyped-call]
    dynamic = DynamicClient(connection)  # type: ignore[no-untyped-call]
    restricted = {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": restricted}
    resource(dynamic, namespace).create(body=namespace)
    for definition in definitions():
        resource(dynamic, definition).create(body=definition)
    return dynamic


@pytest.fixture(scope="module")
def helm(plane: ControlPlane, api: DynamicClient) -> Iterator[Config]:
    helm = Config(kubeconfig_content=plane.kubeconfig, namespace=NAMESPACE)
    helm.install(Chart.load(CHART), RELEASE, VALUES, namespace=NAMESPACE)
    yield helm
    helm.close()


def resource(api: DynamicClient, item: Object) -> Any:
    return api.resources.get(api_version=item["apiVersion"], kind=item["kind"])


def stored(api: DynamicClient, item: Object) -> Object:
    found: Object = resource(api, item).get(name=item["metadata"]["name"], namespace=NAMESPACE).to_dict()
    return found


def serve_config(api: DynamicClient) -> dict[str, Any]:
    service = next(item for item in render(VALUES, minimal=False) if item["kind"] == "RayService")
    parsed: dict[str, Any] = yaml.safe_load(stored(api, service)["spec"]["serveConfigV2"])
    return parsed


def keys(api: DynamicClient) -> dict[str, str]:
    secret = next(item for item in render(VALUES, minimal=False) if item["kind"] == "Secret")
    data: dict[str, str] = stored(api, secret)["data"]
    return data


def test_installing_stores_every_object_as_it_was_rendered(helm: Config, api: DynamicClient) -> None:
    for item in render(VALUES, minimal=False):
        if "helm.sh/hook" not in item["metadata"].get("annotations", {}):
            assert stored(api, item)["metadata"]["labels"]["app.kubernetes.io/instance"] == RELEASE


@pytest.mark.parametrize("name", ["dev", "gpu", "ha"])
def test_every_pod_is_admitted_to_a_restricted_namespace(helm: Config, api: DynamicClient, name: str) -> None:
    objects = render(installable(name))
    pods = api.resources.get(api_version="v1", kind="Pod")
    for owner, template in pod_templates(objects):
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "admitted", "labels": template.get("metadata", {}).get("labels", {})},
            "spec": {**template["spec"], "restartPolicy": template["spec"].get("restartPolicy", "Always")},
        }
        try:
            pods.create(body=body, namespace=NAMESPACE, query_params=[("dryRun", "All")])
        except ApiException as error:
            pytest.fail(f"{owner}: {error.body}")


def test_the_api_account_may_manage_jobs_and_nothing_else(helm: Config, api: DynamicClient) -> None:
    account = f"system:serviceaccount:{NAMESPACE}:{RELEASE}-kubevoice-api"

    def may(verb: str, group: str, kind: str) -> bool:
        review = api.resources.get(api_version="authorization.k8s.io/v1", kind="SubjectAccessReview")
        answer = review.create(
            body={
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {
                    "user": account,
                    "resourceAttributes": {"namespace": NAMESPACE, "verb": verb, "group": group, "resource": kind},
                },
            }
        )
        return bool(answer.status.allowed)

    assert may("create", "batch", "jobs")
    assert may("list", "", "pods")
    assert not may("get", "", "secrets")
    assert not may("create", "", "pods")
    assert not may("update", "ray.io", "rayservices")


def test_an_upgrade_and_a_rollback_keep_the_keys_and_change_the_rest(
    helm: Config, api: DynamicClient, tmp_path: Path
) -> None:
    before, first = keys(api), serve_config(api)
    newer = shutil.copytree(CHART, tmp_path / "kubevoice")
    facts = yaml.safe_load((newer / "Chart.yaml").read_text())
    (newer / "Chart.yaml").write_text(yaml.safe_dump({**facts, "version": "99.0.0", "appVersion": "99.0.0"}))
    changed = merged(VALUES, {"settings": {"log": {"level": "DEBUG"}}})
    helm.upgrade(Chart.load(newer), RELEASE, changed, namespace=NAMESPACE)
    assert keys(api) == before
    assert serve_config(api)["applications"][0]["args"]["log"]["level"] == "DEBUG"
    helm.rollback(RELEASE, version=1)
    assert keys(api) == before
    assert serve_config(api) == first


def test_the_server_refuses_a_value_of_another_type_than_kuberay_s(helm: Config, api: DynamicClient) -> None:
    service = next(item for item in render(VALUES, minimal=False) if item["kind"] == "RayService")
    cluster = {"enableInTreeAutoscaling": "yes"}
    wrong = merged(service, {"metadata": {"name": "wrong"}, "spec": {"rayClusterConfig": cluster}})
    with pytest.raises(ApiException) as refused:
        resource(api, wrong).create(body=wrong, namespace=NAMESPACE)
    assert refused.value.status == 422
