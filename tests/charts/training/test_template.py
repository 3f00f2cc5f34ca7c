"""templates/training/template.yaml"""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from serving.launch.template import CONTAINER, DATASET_KEY, KEY, filled, parsed
from tests.charts.rendering import made_by, merged, one, render
from training.exits import BAD_CONFIGURATION, OUT_OF_GPU_MEMORY, STOPPED
from training.xtts.launcher import Nodes, nodes_from

TEMPLATE = "training/template.yaml"


def job(values: dict[str, Any] | None = None, key: str = KEY) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(one(made_by(TEMPLATE, values), "ConfigMap")["data"][key])
    return found


def pod(values: dict[str, Any] | None = None, key: str = KEY) -> dict[str, Any]:
    found: dict[str, Any] = job(values, key)["spec"]["template"]["spec"]
    return found


def env(values: dict[str, Any] | None = None, key: str = KEY) -> dict[str, Any]:
    """The container's variables: a value, or where it comes from."""
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in pod(values, key)["containers"][0]["env"]}


def test_without_training_there_is_none() -> None:
    assert made_by(TEMPLATE, {"training": {"enabled": False}}) == []


@pytest.mark.parametrize("key", [KEY, DATASET_KEY])
@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
def test_the_launcher_makes_a_valid_job_of_it(version: str, key: str) -> None:
    text = one(made_by(TEMPLATE, {"training": {"nodes": 2}}), "ConfigMap")["data"][key]
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


@pytest.mark.parametrize("key", [KEY, DATASET_KEY])
def test_a_pod_knows_its_uid_by_which_a_lock_names_its_owner(key: str) -> None:
    assert env(key=key)["POD_UID"] == {"fieldRef": {"fieldPath": "metadata.uid"}}


def test_interruptions_are_no_failures_and_bad_configurations_are_final() -> None:
    spec = job({"training": {"backoffLimit": 4}})["spec"]
    assert spec["backoffLimit"] == 4
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    disrupted, saved, hopeless = spec["podFailurePolicy"]["rules"]
    assert (disrupted["action"], disrupted["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert (saved["action"], saved["onExitCodes"]["values"]) == ("Ignore", [STOPPED])
    assert (hopeless["action"], hopeless["onExitCodes"]["values"]) == (
        "FailJob",
        [BAD_CONFIGURATION, OUT_OF_GPU_MEMORY],
    )
    for rule in (saved, hopeless):
        assert rule["onExitCodes"]["containerName"] == CONTAINER


def test_a_gpu_a_grace_and_a_clean_up_are_those_of_the_values() -> None:
    training = {
        "gpus": 2,
        "gpuResource": "amd.com/gpu",
        "terminationGracePeriodSeconds": 99,
        "ttlSecondsAfterFinished": 2592000,
        "nodeSelector": {"gpu": "a100"},
        "tolerations": [{"key": "training", "operator": "Exists"}],
    }
    found = pod({"training": training})
    assert found["containers"][0]["resources"]["limits"] == {"memory": "32Gi", "amd.com/gpu": "2"}
    assert found["containers"][0]["resources"]["requests"] == {"cpu": "4", "memory": "16Gi"}
    assert found["terminationGracePeriodSeconds"] == 99
    assert (found["nodeSelector"], found["tolerations"]) == (training["nodeSelector"], training["tolerations"])
    assert job({"training": training})["spec"]["ttlSecondsAfterFinished"] == 2592000


def test_without_gpus_none_is_asked_for_or_shown() -> None:
    values = {"training": {"gpus": 0}}
    assert pod(values)["containers"][0]["resources"]["limits"] == {"memory": "32Gi"}
    assert (env(values)["NVIDIA_VISIBLE_DEVICES"], env(values)["NPROC_PER_NODE"]) == ("void", "1")


def test_a_process_trains_on_each_gpu() -> None:
    found = env({"training": {"gpus": 4}})
    assert found["NPROC_PER_NODE"] == "4"
    assert not {"NNODES", "RDZV_ENDPOINT", "NVIDIA_VISIBLE_DEVICES"} & set(found)
    assert nodes_from({name: str(value) for name, value in found.items()}, None, 0) == Nodes(processes=4)


def test_on_several_nodes_each_pod_knows_how_many_there_are_and_where_the_first_is() -> None:
    values = {"training": {"nodes": 3, "gpus": 2}}
    spec = job(values)["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    names = list(env(values))
    assert names.index("JOB_NAME") < names.index("RDZV_ENDPOINT"), "a variable refers to those before it"
    source = env(values)["JOB_NAME"]["fieldRef"]["fieldPath"]
    assert source == "metadata.labels['batch.kubernetes.io/job-name']"
    place = f"{pod(values)['subdomain']}.speech.svc"
    assert env(values)["RDZV_ENDPOINT"] == f"$(JOB_NAME)-0.{place}:29400"


def test_the_trainer_understands_its_place_among_several() -> None:
    given = {name: str(value) for name, value in env({"training": {"nodes": 3, "gpus": 2}}).items()}
    given["RDZV_ENDPOINT"] = given["RDZV_ENDPOINT"].replace("$(JOB_NAME)", "run-7")  # as the kubelet does
    found = nodes_from(given | {"JOB_COMPLETION_INDEX": "2"}, None, 0)
    assert found == Nodes(2, 3, 2, "run-7-0.voices-kubevoice-training.speech.svc", 29400)


def test_on_one_node_there_is_one_pod_and_no_name_for_it() -> None:
    spec = job()["spec"]
    assert not {"completionMode", "completions", "parallelism"} & set(spec)
    assert "subdomain" not in spec["template"]["spec"]


def test_variables_of_the_values_win_those_of_training_last() -> None:
    values = {
        "pods": {"env": [{"name": "HOME", "value": "/home"}, {"name": "NUM_EPOCHS", "value": "9"}]},
        "training": {"env": [{"name": "NUM_EPOCHS", "value": "3"}, {"name": "NPROC_PER_NODE", "value": "2"}]},
    }
    names = [item["name"] for item in pod(values)["containers"][0]["env"]]
    assert len(names) == len(set(names))
    found = env(values)
    assert (found["HOME"], found["NUM_EPOCHS"], found["NPROC_PER_NODE"]) == ("/home", "3", "2")
    assert not {"NUM_EPOCHS", "MAX_TRAIN_SAMPLES", "LOG_EVERY_N_STEPS"} & set(env())


def test_a_pod_is_replaced_when_it_has_ended_and_a_bound_is_set_on_request() -> None:
    assert job()["spec"]["podReplacementPolicy"] == "Failed"
    assert "activeDeadlineSeconds" not in job()["spec"]
    assert job({"training": {"activeDeadlineSeconds": 86400}})["spec"]["activeDeadlineSeconds"] == 86400


def test_the_last_line_of_a_failed_pod_is_kept_for_the_status() -> None:
    assert pod()["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_a_dataset_is_prepared_without_gpus_where_its_own_values_say() -> None:
    own = {"resources": {"limits": {"memory": "9Gi"}}, "nodeSelector": {"pool": "cpu"}, "tolerations": []}
    values = {"training": {"gpus": 4, "nodes": 2, "nodeSelector": {"pool": "gpu"}, "datasets": own}}
    found = pod(values, DATASET_KEY)
    assert found["containers"][0]["resources"] == {
        "requests": {"cpu": "2", "memory": "4Gi"},
        "limits": {"memory": "9Gi"},
    }
    assert (found["nodeSelector"], found.get("tolerations")) == ({"pool": "cpu"}, None)
    assert env(values, DATASET_KEY)["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "NPROC_PER_NODE" not in env(values, DATASET_KEY)
    assert "completions" not in job(values, DATASET_KEY)["spec"]


def test_a_dataset_s_job_fails_and_ends_as_a_trainer_s() -> None:
    values = {"training": {"backoffLimit": 2, "queueName": "q", "activeDeadlineSeconds": 9}}
    training, dataset = job(values)["spec"], job(values, DATASET_KEY)["spec"]
    assert {key: value for key, value in training.items() if key != "template"} == {
        key: value for key, value in dataset.items() if key != "template"
    }
    labels = job(values, DATASET_KEY)["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "q"
    assert labels["app.kubernetes.io/component"] == "dataset"


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
