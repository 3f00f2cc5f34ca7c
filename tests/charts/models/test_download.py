"""templates/models/download.yaml"""

import re
from typing import Any

import pytest
from helm_python.errors import HelmError
from typer.core import TyperGroup
from typer.main import get_command

from serving.cli import models
from tests.charts.rendering import Object, made_by, merged, one

TEMPLATE = "models/download.yaml"
ON: dict[str, Any] = {"models": {"xtts": {"download": {"enabled": True, "acceptLicence": True}}}}


def job(values: dict[str, Any] | None = None, **download: Any) -> Object:
    given = {"models": {"xtts": {"download": download}}}
    return one(made_by(TEMPLATE, merged(ON, given, values or {})), "Job")


def container(found: Object) -> dict[str, Any]:
    only: dict[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
    return only


def test_there_is_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_the_licence_has_to_be_accepted() -> None:
    with pytest.raises(HelmError) as refused:
        job(acceptLicence=False)
    for word in ("models.xtts.download.acceptLicence", "Coqui Public Model License", "https://coqui.ai/cpml"):
        assert word in str(refused.value)


def test_it_pulls_the_model_that_serving_loads_and_checks_its_digests() -> None:
    digests = {"model.pth": "ab" * 32, "config.json": "cd" * 32}
    found = job({"settings": {"xtts": {"model": "mine"}}}, repository="me/XTTS", revision="a1b2c3", sha256=digests)
    assert container(found)["args"] == [
        *("kubevoice", "models", "pull", "--accept-licence", "--keep-current", "--name", "mine"),
        *("--repository", "me/XTTS", "--revision", "a1b2c3"),
        *("--sha256", "config.json=" + "cd" * 32, "--sha256", "model.pth=" + "ab" * 32),
    ]


def test_its_arguments_are_options_of_the_command() -> None:
    given = container(job(sha256={"model.pth": "ab" * 32}))["args"]
    group = get_command(models.app)
    assert isinstance(group, TyperGroup)
    options = {option for parameter in group.commands["pull"].params for option in parameter.opts}
    assert {word for word in given if word.startswith("--")} <= options


def test_a_mirror_and_its_token_are_named() -> None:
    found = job(endpoint="https://mirror:8443", tokenSecret={"name": "hub", "key": "hf"})
    env = {item["name"]: item for item in container(found)["env"]}
    assert env["HF_ENDPOINT"]["value"] == "https://mirror:8443"
    assert env["HF_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "hf"}
    assert env["HF_HOME"]["value"].startswith("/tmp/")
    assert not {"HF_ENDPOINT", "HF_TOKEN"} & {item["name"] for item in container(job())["env"]}


def test_its_name_follows_its_spec_so_that_no_upgrade_changes_an_immutable_field() -> None:
    first = job()
    assert re.fullmatch(r"voices-kubevoice-model-[0-9a-f]{8}", first["metadata"]["name"])
    for other in (job(revision="next"), job({"image": {"tag": "9.9.9"}}), job({"pods": {"userId": 2000}})):
        assert other["metadata"]["name"] != first["metadata"]["name"]
    same = job({"labels": {"team": "x"}, "annotations": {"note": "y"}, "speech": {"minReplicas": 2}})
    assert (same["metadata"]["name"], same["spec"]) == (first["metadata"]["name"], first["spec"])


def test_a_drained_node_costs_no_attempt() -> None:
    spec = job(backoffLimit=3)["spec"]
    assert spec["backoffLimit"] == 3
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # as podFailurePolicy demands
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")


def test_it_writes_to_the_volume_and_tmp_only_and_has_no_token() -> None:
    pod = job()["spec"]["template"]["spec"]
    assert {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]} == {"/data", "/tmp"}
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("voices-kubevoice-job", False)


def test_options_of_all_pods_reach_it_and_every_variable_is_there_once() -> None:
    pods = {
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}, {"name": "HF_HOME", "value": "/cache"}],
        "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "volumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/certs"}],
        "labels": {"team": "speech"},
        "annotations": {"note": "x"},
    }
    template = job({"pods": pods})["spec"]["template"]
    only = template["spec"]["containers"][0]
    names = [item["name"] for item in only["env"]]
    assert len(names) == len(set(names))
    assert {item["name"]: item.get("value") for item in only["env"]}["HF_HOME"] == "/cache"
    assert {"name": "ca", "mountPath": "/etc/ssl/certs"} in only["volumeMounts"]
    assert template["metadata"]["labels"]["team"] == "speech"
    assert template["metadata"]["annotations"] == {"note": "x"}


def test_on_a_single_node_it_joins_the_pods_that_have_the_volume() -> None:
    storage = {"storage": {"accessMode": "ReadWriteOnce", "singleNode": True}}
    assert "affinity" not in job()["spec"]["template"]["spec"]
    pod = job(storage)["spec"]["template"]
    (term,) = pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    # Kubernetes places the first pod of all because it matches its own rule.
    assert (
        pod["metadata"]["labels"]["app.kubernetes.io/component"]
        in term["labelSelector"]["matchExpressions"][0]["values"]
    )
