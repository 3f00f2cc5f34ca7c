"""templates/_pod.tpl: head and workers."""

from __future__ import annotations

from typing import Any

import pytest
from typer.main import get_command

from serving.cli import app as command_line
from tests.charts.ray.cluster import container, head, only_group, raycluster, worker
from tests.charts.rendering import Object

LIFECYCLE = {
    "preStopSeconds": 5,
    "gracefulShutdownSeconds": 60,
    "longestUtteranceSeconds": 45,
    "terminationGracePeriodSeconds": 130,
}


def templates(values: dict[str, Any] | None = None) -> list[Object]:
    cluster = raycluster(values)
    return [cluster["headGroupSpec"]["template"], *(found["template"] for found in cluster["workerGroupSpecs"])]


def containers(values: dict[str, Any] | None = None) -> list[Object]:
    return [
        found
        for template in templates(values)
        for found in (*template["spec"]["containers"], *template["spec"].get("initContainers", []))
    ]


def test_labels_say_what_a_pod_is() -> None:
    assert head()["metadata"]["labels"]["app.kubernetes.io/component"] == "head"
    labels = worker()["metadata"]["labels"]
    assert (labels["app.kubernetes.io/component"], labels["kubevoice.io/group"]) == ("worker", "gpu")


def test_labels_and_annotations_can_be_added_but_not_turned() -> None:
    values = only_group(labels={"tier": "gold", "kubevoice.io/group": "x"}, annotations={"scrape": "no"})
    values["pods"] = {
        "labels": {"tier": "tin", "app.kubernetes.io/instance": "x"},
        "annotations": {"scrape": "yes", "log": "json"},
    }
    metadata = worker(values)["metadata"]
    assert metadata["labels"]["tier"] == "gold"
    assert metadata["labels"]["kubevoice.io/group"] == "gpu"
    assert metadata["labels"]["app.kubernetes.io/instance"] == "voices"
    assert metadata["annotations"] == {"scrape": "no", "log": "json"}


def test_the_node_autoscaler_leaves_the_head_alone() -> None:
    key = "cluster-autoscaler.kubernetes.io/safe-to-evict"
    assert head()["metadata"]["annotations"][key] == "false"
    assert head({"pods": {"annotations": {key: "true"}}})["metadata"]["annotations"][key] == "true"


def test_every_pod_passes_the_restricted_standard() -> None:
    for template in templates():
        context = template["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(template["spec"])
    for found in containers():
        context = found["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True


def test_every_mount_has_a_volume_and_every_volume_a_mount() -> None:
    for template in templates():
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        mounts = {mount["name"] for found in template["spec"]["containers"] for mount in found["volumeMounts"]}
        assert mounts == volumes
        for found in template["spec"]["initContainers"]:
            assert {mount["name"] for mount in found["volumeMounts"]} <= volumes


def test_pods_write_to_the_claim_and_to_memory_and_temporary_space_of_a_known_size() -> None:
    values = {"storage": {"existingClaim": "mine"}, "pods": {"sharedMemory": "2Gi", "temporaryStorage": "3Gi"}}
    volumes = {volume["name"]: volume for volume in worker(values)["spec"]["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == "mine"
    assert volumes["shared-mem"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}
    assert volumes["tmp"]["emptyDir"] == {"sizeLimit": "3Gi"}
    paths = {mount["name"]: mount["mountPath"] for mount in container(worker(values))["volumeMounts"]}
    assert paths == {"data": "/data", "shared-mem": "/dev/shm", "tmp": "/tmp"}


def test_the_head_shares_its_logs_with_the_autoscaler_by_kuberay_s_own_volume() -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in container(head())["volumeMounts"]}
    assert mounts["ray-logs"] == "/tmp/ray"
    assert "ray-logs" not in {volume["name"] for volume in worker()["spec"]["volumes"]}


def test_extra_volumes_reach_every_pod() -> None:
    values = {
        "pods": {"volumes": [{"name": "ca", "emptyDir": {}}], "volumeMounts": [{"name": "ca", "mountPath": "/ca"}]}
    }
    for template in templates(values):
        assert {"name": "ca", "mountPath": "/ca"} in container(template)["volumeMounts"]
        assert {"name": "ca", "emptyDir": {}} in template["spec"]["volumes"]


def test_pods_wait_for_the_weights() -> None:
    for template in templates({"settings": {"xtts": {"model": "house"}}, "lifecycle": {"startupSeconds": 900}}):
        (weights,) = template["spec"]["initContainers"]
        assert weights["command"] == ["kubevoice", "models", "wait", "--timeout", "900"]
        assert {"name": "KUBEVOICE_XTTS__MODEL", "value": "house"} in weights["env"]


@pytest.mark.parametrize("values", [{"settings": {"engine": "espeak"}}, {"models": {"xtts": {"wait": False}}}])
def test_pods_do_not_wait_for_weights_that_are_not_used_or_are_there(values: dict[str, Any]) -> None:
    assert all("initContainers" not in template["spec"] for template in templates(values))


def drain(values: dict[str, Any] | None = None) -> list[str]:
    command: list[str] = container(worker(values))["lifecycle"]["preStop"]["exec"]["command"]
    return command


def test_a_worker_drains_before_it_stops_and_has_the_time_for_it() -> None:
    values = {"lifecycle": LIFECYCLE}
    assert drain(values) == ["kubevoice", "drain-node", "--timeout", "110", "--settle", "5"]
    assert worker(values)["spec"]["terminationGracePeriodSeconds"] == 130
    assert "lifecycle" not in container(head(values))


def test_the_command_line_has_the_commands_that_pods_call() -> None:
    for command in (drain(), worker()["spec"]["initContainers"][0]["command"]):
        found: Any = get_command(command_line)
        words = command[1:]
        while not words[0].startswith("-"):
            found = found.commands[words.pop(0)]
        found.make_context("kubevoice", words)  # parses the options, runs nothing


def test_accounts_and_tokens_follow_what_a_group_runs() -> None:
    def account(values: dict[str, Any], name: str) -> tuple[str, bool]:
        spec = worker(values, name)["spec"]
        return spec["serviceAccountName"], spec["automountServiceAccountToken"]

    assert head()["spec"]["serviceAccountName"] == "voices-kubevoice-head"
    assert head()["spec"]["automountServiceAccountToken"] is True
    assert account({}, "gpu") == ("voices-kubevoice-worker", False)
    assert account({}, "api") == ("voices-kubevoice-api", True)
    assert account({"training": {"enabled": False}}, "api") == ("voices-kubevoice-api", False)
    assert account(only_group(), "gpu") == ("voices-kubevoice-api", True)


def test_a_group_goes_where_its_values_say() -> None:
    affinity: dict[str, Any] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": []}]}}
    }
    spec = worker(
        only_group(
            nodeSelector={"gpu": "l4"},
            tolerations=[{"key": "gpu", "operator": "Exists"}],
            affinity=affinity,
            priorityClassName="gold",
            runtimeClassName="nvidia",
            topologySpread="DoNotSchedule",
        )
    )["spec"]
    assert spec["nodeSelector"] == {"gpu": "l4"}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert spec["affinity"] == affinity
    assert (spec["priorityClassName"], spec["runtimeClassName"]) == ("gold", "nvidia")
    assert spec["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "DoNotSchedule"


def test_the_head_goes_where_its_values_say() -> None:
    node = {
        "nodeSelector": {"pool": "cpu"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "priorityClassName": "gold",
    }
    spec = head({"ray": {"head": node}})["spec"]
    assert {key: spec[key] for key in node} == node


def test_serving_s_priority_class_is_everybody_s() -> None:
    assert [
        template["spec"]["priorityClassName"] for template in templates({"priorityClasses": {"serving": "high"}})
    ] == ["high"] * 3
    assert all("priorityClassName" not in template["spec"] for template in templates())


def test_workers_of_a_group_spread_over_zones_by_cluster() -> None:
    (spread,) = worker()["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "topology.kubernetes.io/zone"
    assert spread["labelSelector"]["matchLabels"].items() <= worker()["metadata"]["labels"].items()
    assert spread["matchLabelKeys"] == ["ray.io/cluster"]
    assert "topologySpreadConstraints" not in head()["spec"]
    assert "topologySpreadConstraints" not in worker({"pods": {"topologySpread": ""}})["spec"]


def test_a_volume_of_one_node_holds_all_pods_there() -> None:
    values: dict[str, Any] = {"storage": {"accessMode": "ReadWriteOnce", "singleNode": True}}
    for template in templates(values):
        (rule,) = template["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert rule["topologyKey"] == "kubernetes.io/hostname"
        assert rule["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        assert "topologySpreadConstraints" not in template["spec"]


def test_one_node_is_asked_for_beside_the_affinity_of_the_values() -> None:
    near = {"labelSelector": {"matchLabels": {"app": "cache"}}, "topologyKey": "kubernetes.io/hostname"}
    rule = "requiredDuringSchedulingIgnoredDuringExecution"
    values = only_group(affinity={"podAffinity": {rule: [near]}})
    values["storage"] = {"accessMode": "ReadWriteOnce", "singleNode": True}
    rules = worker(values)["spec"]["affinity"]["podAffinity"][rule]
    assert rules[0] == near
    assert len(rules) == 2


def test_private_registries_and_their_secrets() -> None:
    for template in templates({"imagePullSecrets": [{"name": "registry"}]}):
        assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def test_services_of_the_namespace_do_not_leak_into_the_settings() -> None:
    assert all(template["spec"]["enableServiceLinks"] is False for template in templates())
