"""templates/tensorboard/deployment.yaml"""

from typing import Any

import pytest
from typer.testing import CliRunner

from serving.cli import app
from tests.charts.rendering import made_by, merged, one, render

TEMPLATE = "tensorboard/deployment.yaml"
ON: dict[str, Any] = {"tensorboard": {"enabled": True}}


def pod(values: dict[str, Any] | None = None) -> dict[str, Any]:
    deployment = one(made_by(TEMPLATE, merged(ON, values or {})), "Deployment")
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def test_there_is_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_its_command_is_one_of_ours_on_the_port_that_is_named() -> None:
    (container,) = pod()["containers"]
    executable, command, *options = container["args"]
    assert executable == "kubevoice"
    assert options[options.index("--port") + 1] == str(container["ports"][0]["containerPort"])
    shown = CliRunner().invoke(app, [command, "--help"]).output
    assert all(option in shown for option in options if option.startswith("--"))


def test_it_reads_the_volume_and_writes_to_tmp_only() -> None:
    found = pod()
    (container,) = found["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts["/data"]["readOnly"] is True
    assert set(mounts) == {"/data", "/tmp"}
    assert {"name": "KUBEVOICE_DATA", "value": "/data"} in container["env"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    volumes = {volume["name"]: volume for volume in found["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == "voices-kubevoice-data"


def test_it_has_no_rights_and_no_token() -> None:
    found = pod()
    assert found["automountServiceAccountToken"] is False
    one(render(ON), "ServiceAccount", found["serviceAccountName"])


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_its_probes_ask_for_what_its_reader_answers(probe: str) -> None:
    """tests/serving/cli/test_tensorboard.py shows that this page fails without the reader."""
    (container,) = pod()["containers"]
    assert container[probe]["httpGet"] == {"path": "/data/runs", "port": container["ports"][0]["name"]}


def test_on_a_single_node_it_joins_the_pods_that_have_the_volume() -> None:
    assert "affinity" not in pod()
    found = pod({"storage": {"accessMode": "ReadWriteOnce", "singleNode": True}})
    (term,) = found["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"


def test_switching_it_on_changes_nothing_of_the_ray_cluster() -> None:
    one_node = {"storage": {"accessMode": "ReadWriteOnce", "singleNode": True}}
    without, beside = (one(render(merged(one_node, extra)), "RayService") for extra in ({}, ON))
    assert without == beside


def test_resources_and_the_environment_are_those_of_the_values() -> None:
    resources = {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "2Gi"}}
    given = {"tensorboard": {"resources": resources}, "pods": {"env": [{"name": "LANG", "value": "C.UTF-8"}]}}
    (container,) = pod(given)["containers"]
    assert container["resources"] == resources
    assert {"name": "LANG", "value": "C.UTF-8"} in container["env"]
