"""Every right that the chart grants is one that the code asks for, and the code asks for no other.

The launcher is the only code of ours that talks to the Kubernetes API. Its requests are taken down at an emulated API,
and compared with the table beside it (serving/launch/permissions.py) and with the Role. KubeRay's autoscaler beside the
Ray head needs rights too: KubeRay makes that Role itself and binds it to the head's account; the chart has none for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from kmock import Request

import serving
from serving.launch import PERMISSIONS, Launcher, Permission, connect
from tests.charts.rendering import Object, one, render
from tests.factories.kubernetes_api import NAMESPACE, KubernetesApi, kubeconfig, running_api

FULLNAME = "voices-kubevoice"
LINE = b"2026-01-01T00:00:01.000000000Z epoch 1\n"
EVERYTHING: dict[str, Any] = {
    "postgresql": {"existingSecret": {"name": ""}, "bundled": {"enabled": True}},
    "redis": {"bundled": {"enabled": True}},
    "ray": {"gcsFaultTolerance": {"enabled": True}},
    "models": {"xtts": {"download": {"enabled": True, "acceptLicence": True}}},
    "tensorboard": {"enabled": True},
}
NO_TRAINING: dict[str, Any] = {"training": {"enabled": False}}

SERVING = Path(serving.__file__).parent
CLIENT = re.compile(r"^\s*(from|import) kubernetes\b", re.MULTILINE)

Right = tuple[str, str, str, str | None]
"""(API group, resource with subresource, verb, name of the only object)."""


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    """A Kubernetes API with the ConfigMap that the chart renders."""
    with running_api() as api:
        rendered = one(render(), "ConfigMap", f"{FULLNAME}-training-template")
        api.add_template(rendered["data"]["job.yaml"], name=rendered["metadata"]["name"])
        yield api


@pytest.fixture
def launcher(api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", api.url)))
    return Launcher(connect(), f"{FULLNAME}-training-template", poll_s=0.02)


def asked(request: Request) -> Right:
    """The right that the API server demands for ``request``, https://kubernetes.io/docs/reference/access-authn-authz/."""
    assert request.resource is not None
    assert request.namespace == NAMESPACE, "asked of the whole cluster"
    verbs = {"POST": "create", "DELETE": "delete", "GET": "get" if request.name else "list"}
    resource = "/".join(filter(None, [request.resource.plural, request.subresource]))
    name = request.name if resource == "configmaps" else None
    return request.resource.group or "", resource, verbs[request.method.value], name


def listed(permission: Permission) -> Right:
    name = f"{FULLNAME}-training-template" if permission.template_only else None
    return permission.group, permission.resource, permission.verb, name


def granted(role: Object) -> set[Right]:
    assert not any(set(rule) - {"apiGroups", "resources", "verbs", "resourceNames"} for rule in role["rules"])
    return {
        (group, resource, verb, name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [None])
    }


def use(api: KubernetesApi, launcher: Launcher, operation: str) -> None:
    """Drive ``operation`` through all that it may ask; runs that wait, run, fail and have ended are there."""
    match operation:
        case "start":
            launcher.start("new", ["true"])
        case "runs":
            launcher.runs()
        case "changes":
            list(launcher.changes("ended"))
            next(launcher.changes("waiting"))
        case "logs":
            list(launcher.logs("ended"))
            list(launcher.logs("ended", follow=True))
            list(launcher.logs("failing", follow=True))
        case _:
            getattr(launcher, operation)("waiting")


def requests_of(api: KubernetesApi, launcher: Launcher, operation: str) -> set[Right]:
    for name in ("waiting", "running", "failing", "ended"):
        launcher.start(name, ["true"])
    api.add_pod("running", "Running", {"running": {}})
    ended = api.add_pod("ended", "Succeeded", {"terminated": {"exitCode": 0}})
    api.finish("ended")
    failing = api.add_pod("failing", "Running", {"running": {}})

    def fail() -> bytes:
        api.set_pod(failing, "Failed", {"terminated": {"exitCode": 1}})
        return LINE

    api.answer(f"get /api/v1/namespaces/{NAMESPACE}/pods/{ended}/log", LINE)
    api.answer(f"get /api/v1/namespaces/{NAMESPACE}/pods/{failing}/log", fail)
    before = len(api.requests)
    use(api, launcher, operation)
    return {asked(request) for request in api.requests[before:]}


OPERATIONS = sorted({name for permission in PERMISSIONS for name in permission.needed_by})


def test_only_the_launcher_talks_to_kubernetes() -> None:
    users = {path.relative_to(SERVING).parts[0] for path in SERVING.rglob("*.py") if CLIENT.search(path.read_text())}
    assert users == {"launch"}


def test_every_operation_of_the_launcher_is_in_the_table() -> None:
    assert sorted(name for name in vars(Launcher) if not name.startswith("_")) == OPERATIONS


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_asks_for_what_the_table_says_and_nothing_else(
    api: KubernetesApi, launcher: Launcher, operation: str
) -> None:
    table = {listed(permission) for permission in PERMISSIONS if operation in permission.needed_by}
    assert requests_of(api, launcher, operation) == table


def test_the_role_grants_the_table() -> None:
    role = one(render(), "Role", f"{FULLNAME}-api")
    assert granted(role) == {listed(permission) for permission in PERMISSIONS}


def test_the_role_is_bound_to_the_api_pods_account_and_no_other() -> None:
    objects = render(EVERYTHING)
    assert [item["metadata"]["name"] for item in objects if item["kind"] == "Role"] == [f"{FULLNAME}-api"]
    binding = one(objects, "RoleBinding")
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": f"{FULLNAME}-api",
    }
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": f"{FULLNAME}-api", "namespace": NAMESPACE}]


@pytest.mark.parametrize("values", [{}, EVERYTHING, NO_TRAINING], ids=["default", "everything", "no training"])
def test_nothing_is_granted_in_the_whole_cluster(values: dict[str, Any]) -> None:
    assert not [item for item in render(values) if item["kind"] in {"ClusterRole", "ClusterRoleBinding"}]


def test_without_training_nothing_is_granted_and_nothing_is_there_to_ask_for() -> None:
    objects = render(NO_TRAINING)
    assert not [item for item in objects if item["kind"] in {"Role", "RoleBinding", "ConfigMap"}]
    assert "KUBEVOICE_LAUNCH__TEMPLATE" not in str(objects)


def pod_specs(item: Object) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what it is, specification) of each pod that ``item`` leads to."""
    name, spec = f"{item['kind']} {item['metadata']['name']}", item.get("spec", {})
    match item["kind"]:
        case "RayService":
            cluster = spec["rayClusterConfig"]
            yield "head", cluster["headGroupSpec"]["template"]["spec"]
            for group in cluster["workerGroupSpecs"]:
                yield f"group {group['groupName']}", group["template"]["spec"]
        case "Pod":
            yield name, spec
        case "Job" | "StatefulSet" | "Deployment" | "DaemonSet":
            yield name, spec["template"]["spec"]


def accounts_and_tokens(values: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """(service account, whether its token is mounted) of every pod."""
    objects = render(values)
    accounts = {item["metadata"]["name"]: item for item in objects if item["kind"] == "ServiceAccount"}
    found = {}
    for name, spec in (pod for item in objects for pod in pod_specs(item)):
        account = spec.get("serviceAccountName", "default")
        ours = accounts.get(account, {})
        mounted = spec.get("automountServiceAccountToken", ours.get("automountServiceAccountToken", True))
        found[name] = (account, bool(mounted))
    return found


def test_only_pods_that_talk_to_kubernetes_have_a_token() -> None:
    pods = accounts_and_tokens(EVERYTHING)
    assert pods["head"] == (f"{FULLNAME}-head", True)  # KubeRay's autoscaler
    assert pods["group api"] == (f"{FULLNAME}-api", True)
    assert pods["group gpu"] == (f"{FULLNAME}-worker", False)
    assert len(pods) >= 8  # and the bundled databases, the download, TensorBoard, the test
    assert {name for name, (_, mounted) in pods.items() if mounted} == {"head", "group api"}


def test_without_training_the_api_pods_have_no_token() -> None:
    pods = accounts_and_tokens(NO_TRAINING)
    assert {name for name, (_, mounted) in pods.items() if mounted} == {"head"}


def test_a_group_that_runs_the_api_beside_speech_has_its_account() -> None:
    both = {"name": "both", "runs": ["api", "speech"], "minReplicas": 1, "maxReplicas": 3, "gpus": 1}
    resources = {"requests": {"cpu": "4", "memory": "16Gi"}, "limits": {"memory": "16Gi"}}
    pods = accounts_and_tokens({"workerGroups": [{**both, "resources": resources}]})
    assert pods["group both"] == (f"{FULLNAME}-api", True)


def test_the_rights_of_a_training_job_are_none(api: KubernetesApi, launcher: Launcher) -> None:
    launcher.start("r", ["true"])
    spec = api.job("r")["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == f"{FULLNAME}-job"
    assert spec["automountServiceAccountToken"] is False


def test_kubernetes_takes_the_job_that_the_launcher_makes_of_the_charts_template(
    api: KubernetesApi, launcher: Launcher
) -> None:
    launcher.start("r", ["python", "-m", "x"], env={"A": "1"})
    for version in ("1.34", "1.36", "1.37"):
        kubernetes_validate.validate(api.job("r"), version, strict=True)
