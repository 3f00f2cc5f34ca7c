"""templates/training/template.yaml"""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from serving.launch.template import CONTAINER, KEY, filled, parsed
from tests.charts.rendering import made_by, merged, one, render

TEMPLATE = "training/template.yaml"


def job(values: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(one(made_by(TEMPLATE, values), "ConfigMap")["data"][KEY])
    return found


def pod(values: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = job(values)["spec"]["template"]["spec"]
    return found


def test_without_training_there_is_none() -> None:
    assert made_by(TEMPLATE, {"training": {"enabled": False}}) == []


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.36"])
def test_the_launcher_makes_a_valid_job_of_it(version: str) -> None:
    text = one(made_by(TEMPLATE), "ConfigMap")["data"][KEY]
    filled_in = filled(
        parsed(text, "the chart"),
        "the chart",
        name="run-7",
        command=["kubevoice", "doctor"],
        env={"NUM_EPOCHS": "2"},
        labels={"kubevoice.io/tenant": "acme"},
    )
    made = filled_in.model_dump(by_alias=True, exclude_none=True, mode="json")
    kubernetes_validate.validate(made, version, strict=True)
    assert made["metadata"]["name"] == "run-7"
    assert made["spec"]["template"]["spec"]["containers"][0]["args"] == ["kubevoice", "doctor"]


def test_interruptions_are_no_failures_and_bad_configurations_are_final() -> None:
    spec = job({"training": {"backoffLimit": 4}})["spec"]
    assert spec["backoffLimit"] == 4
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    disrupted, saved, hopeless = spec["podFailurePolicy"]["rules"]
    assert (disrupted["action"], disrupted["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert (saved["action"], saved["onExitCodes"]["values"]) == ("Ignore", [143])
    assert (hopeless["action"], hopeless["onExitCodes"]["values"]) == ("FailJob", [42, 43])
    for rule in (saved, hopeless):
        assert rule["onExitCodes"]["containerName"] == CONTAINER


def test_a_gpu_a_grace_and_a_clean_up_are_those_of_the_values() -> None:
    training = {
        "gpus": 2,
        "gpuResource": "nvidia.com/mig-2g.20gb",
        "terminationGracePeriodSeconds": 99,
        "ttlSecondsAfterFinished": 2592000,
        "nodeSelector": {"gpu": "a100"},
        "tolerations": [{"key": "training", "operator": "Exists"}],
    }
    found = pod({"training": training})
    assert found["containers"][0]["resources"]["limits"] == {"memory": "32Gi", "nvidia.com/mig-2g.20gb": "2"}
    assert found["containers"][0]["resources"]["requests"] == {"cpu": "4", "memory": "16Gi"}
    assert found["terminationGracePeriodSeconds"] == 99
    assert (found["nodeSelector"], found["tolerations"]) == (training["nodeSelector"], training["tolerations"])
    assert job({"training": training})["spec"]["ttlSecondsAfterFinished"] == 2592000


def test_without_gpus_none_is_asked_for() -> None:
    assert pod({"training": {"gpus": 0}})["containers"][0]["resources"]["limits"] == {"memory": "32Gi"}


def test_it_works_on_the_volume_and_has_shared_memory() -> None:
    found = pod()
    mounts = {mount["name"]: mount["mountPath"] for mount in found["containers"][0]["volumeMounts"]}
    assert mounts == {"data": "/data", "tmp": "/tmp", "shm": "/dev/shm"}
    volumes = {volume["name"]: volume for volume in found["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == "voices-kubevoice-data"
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
    assert set(volumes) == set(mounts)


def test_it_runs_as_anybody_without_rights_and_without_a_token() -> None:
    found = pod({"pods": {"userId": 1000650000}})  # as OpenShift numbers them
    assert found["securityContext"]["runAsUser"] == 1000650000
    security = found["containers"][0]["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert (security["allowPrivilegeEscalation"], security["capabilities"]) == (False, {"drop": ["ALL"]})
    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["automountServiceAccountToken"] is False
    one(render(), "ServiceAccount", found["serviceAccountName"])


def test_kueue_admits_it_where_a_queue_is_named() -> None:
    queued = job({"training": {"queueName": "gpus"}})
    assert queued["spec"]["suspend"] is True
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    at_once = job()
    assert "suspend" not in at_once["spec"]
    assert "kueue.x-k8s.io/queue-name" not in at_once["metadata"]["labels"]


def test_it_has_the_priority_that_the_quota_counts() -> None:
    values = {"priorityClasses": {"training": "low"}}
    assert pod(values)["priorityClassName"] == "low"
    assert "priorityClassName" not in pod()


def test_its_pods_are_found_by_the_policies() -> None:
    labels = job({"pods": {"labels": {"team": "x"}}})["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == "training"
    assert labels["team"] == "x"
    assert "helm.sh/chart" not in labels


def test_on_a_single_node_it_joins_the_pods_that_have_the_volume() -> None:
    values = merged({"storage": {"accessMode": "ReadWriteOnce", "singleNode": True}})
    (term,) = pod(values)["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
