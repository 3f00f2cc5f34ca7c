"""The checks of every object find what is wrong and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.charts import objects, references, restricted
from tests.charts.matrix.features import EVERYTHING
from tests.charts.rendering import Object, one, render

Check = Callable[[Sequence[Object]], Iterator[str]]


@pytest.fixture(scope="module")
def everything() -> list[Object]:
    return render(EVERYTHING)


def named(release: list[Object], kind: str) -> Any:
    return next(item for item in release if item["kind"] == kind)


def container(release: list[Object]) -> Any:
    """The first container of the PostgreSQL pod."""
    return one(release, "StatefulSet", "voices-kubevoice-postgresql")["spec"]["template"]["spec"]["containers"][0]


def ray_container(release: list[Object]) -> Any:
    """The container of the first worker group."""
    cluster = one(release, "RayService")["spec"]["rayClusterConfig"]
    return cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]


def add(release: list[Object], kind: str) -> None:
    release.append(copy.deepcopy(named(release, kind)))


BROKEN: dict[str, tuple[Check, Callable[[list[Object]], Any], str]] = {
    "a name with an underscore": (
        objects.bad_names,
        lambda all_: named(all_, "Role")["metadata"].update(name="a_b"),
        "Role a_b is no DNS label",
    ),
    "a Service whose name is too long for a label": (
        objects.bad_names,
        lambda all_: named(all_, "Service")["metadata"].update(name="a" * 64),
        "of 63 characters",
    ),
    "two objects of the same name": (
        objects.repeated_names,
        lambda all_: add(all_, "Role"),
        "2 objects are Role voices-kubevoice-api",
    ),
    "an object without the release's label": (
        objects.missing_labels,
        lambda all_: named(all_, "Role")["metadata"]["labels"].pop("app.kubernetes.io/instance"),
        "has no app.kubernetes.io/instance",
    ),
    "an object that would go to another namespace": (
        objects.missing_labels,
        lambda all_: named(all_, "Role")["metadata"].pop("namespace"),
        "has no namespace",
    ),
    "an image that moves": (
        objects.bad_images,
        lambda all_: ray_container(all_).update(image="registry:5000/kubevoice:latest"),
        "registry:5000/kubevoice:latest moves",
    ),
    "an image without a tag": (
        objects.bad_images,
        lambda all_: container(all_).update(image="registry:5000/postgres"),
        "registry:5000/postgres moves",
    ),
    "a container without a limit of memory": (
        objects.missing_resources,
        lambda all_: ray_container(all_)["resources"]["limits"].pop("memory"),
        "ray-worker has incomplete resources",
    ),
    "a quantity that is none": (
        objects.bad_quantities,
        lambda all_: container(all_)["resources"]["requests"].update(memory="1 GB"),
        "'1 GB' is no quantity",
    ),
    "a quantity that is none in the training Job": (
        objects.bad_quantities,
        lambda all_: _in_training(all_, "memory: 32Gi", "memory: 32GB"),
        "'32GB' is no quantity",
    ),
    "a quantity that is none in the dataset Job": (
        objects.bad_quantities,
        lambda all_: _in_training(all_, "memory: 8Gi", "memory: 8GB"),
        "'8GB' is no quantity",
    ),
    "a mount without a volume": (
        references.dangling_mounts,
        lambda all_: ray_container(all_)["volumeMounts"].append({"name": "ca", "mountPath": "/ca"}),
        "ray-worker mounts ca, which is no volume",
    ),
    "two mounts at one path": (
        references.dangling_mounts,
        lambda all_: ray_container(all_)["volumeMounts"].append({"name": "tmp", "mountPath": "/data"}),
        "mounts twice at the same path",
    ),
    "a claim that nobody makes": (
        lambda all_: references.strangers(all_, {}),
        lambda all_: all_.remove(one(all_, "PersistentVolumeClaim")),
        "PersistentVolumeClaim voices-kubevoice-data, which is neither rendered",
    ),
    "an account that nobody makes": (
        lambda all_: references.strangers(all_, {}),
        lambda all_: all_.remove(one(all_, "ServiceAccount", "voices-kubevoice-job")),
        "ServiceAccount voices-kubevoice-job",
    ),
    "a training template that nobody makes": (
        lambda all_: references.strangers(all_, {}),
        lambda all_: all_.remove(one(all_, "ConfigMap", "voices-kubevoice-training-template")),
        "ConfigMap voices-kubevoice-training-template",
    ),
    "a key that the Secret does not have": (
        lambda all_: references.strangers(all_, {}),
        lambda all_: one(all_, "Secret", "voices-kubevoice-keys")["data"].pop("postgresql-password"),
        "names the key postgresql-password",
    ),
    "a Service without pods": (
        references.idle_selectors,
        lambda all_: named(all_, "Service")["spec"]["selector"].update(tier="gold"),
        "selects no pod",
    ),
    "a Service to a port that its pods do not have": (
        references.idle_selectors,
        lambda all_: named(all_, "Service")["spec"]["ports"][0].update(targetPort="mysql"),
        "leads to port mysql",
    ),
    "a StatefulSet that does not select its own pods": (
        references.idle_selectors,
        lambda all_: named(all_, "StatefulSet")["spec"]["template"]["metadata"]["labels"].clear(),
        "StatefulSet/voices-kubevoice-postgresql selects no pod",
    ),
    "a Deployment that does not select its own pods": (
        references.idle_selectors,
        lambda all_: named(all_, "Deployment")["spec"]["template"]["metadata"]["labels"].clear(),
        "Deployment/voices-kubevoice-tensorboard selects no pod",
    ),
    "a monitor of a port that is not there": (
        references.idle_selectors,
        lambda all_: named(all_, "PodMonitor")["spec"]["podMetricsEndpoints"][0].update(port="figures"),
        "leads to port figures",
    ),
    "an Ingress to another port": (
        references.dead_backends,
        lambda all_: _backend(all_)["port"].update(number=80),
        "Service voices-kubevoice, port 80, which is not there",
    ),
    "a pod on the network of its host": (
        restricted.violations,
        lambda all_: one(all_, "Job")["spec"]["template"]["spec"].update(hostNetwork=True),
        "hostNetwork is on",
    ),
    "a volume on its host": (
        restricted.violations,
        lambda all_: _volumes(all_).append({"name": "host", "hostPath": {"path": "/"}}),
        "volume host is a hostPath",
    ),
    "a privileged container": (
        restricted.violations,
        lambda all_: container(all_)["securityContext"].update(privileged=True),
        "postgresql: privileged",
    ),
    "a container that may escalate": (
        restricted.violations,
        lambda all_: container(all_)["securityContext"].pop("allowPrivilegeEscalation"),
        "may escalate its privileges",
    ),
    "a container that keeps capabilities": (
        restricted.violations,
        lambda all_: container(all_)["securityContext"].pop("capabilities"),
        "keeps or adds capabilities",
    ),
    "a container that may be root": (
        restricted.violations,
        lambda all_: container(all_)["securityContext"].update(runAsNonRoot=False),
        "may run as root",
    ),
    "a container without a seccomp profile": (
        restricted.violations,
        lambda all_: container(all_)["securityContext"].update(seccompProfile={"type": "Unconfined"}),
        "has no seccomp profile",
    ),
    "a container on a port of its host": (
        restricted.violations,
        lambda all_: ray_container(all_)["ports"][0].update(hostPort=8000),
        "takes the host's port 8000",
    ),
    "an autoscaler that is less restricted than the head": (
        restricted.violations,
        lambda all_: _autoscaler(all_)["securityContext"].pop("capabilities"),
        "autoscaler: keeps or adds capabilities",
    ),
}


def _in_training(release: list[Object], old: str, new: str) -> None:
    data = one(release, "ConfigMap", "voices-kubevoice-training-template")["data"]
    key = next(key for key, text in data.items() if old in text)
    data[key] = data[key].replace(old, new)


def _backend(release: list[Object]) -> Any:
    return one(release, "Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]


def _volumes(release: list[Object]) -> Any:
    return one(release, "Job")["spec"]["template"]["spec"]["volumes"]


def _autoscaler(release: list[Object]) -> Any:
    return one(release, "RayService")["spec"]["rayClusterConfig"]["autoscalerOptions"]


@pytest.mark.parametrize("what", BROKEN)
def test_it_is_found(what: str, everything: list[Object]) -> None:
    check, spoil, words = BROKEN[what]
    release = copy.deepcopy(everything)
    spoil(release)
    found = [problem for problem in check(release) if words in problem]
    assert found, f"no {words!r} in {list(check(release))}"
    assert not [problem for problem in check(everything) if words in problem]


def test_every_kind_of_pod_is_looked_at(everything: list[Object]) -> None:
    owners = [owner for owner, _ in objects.pod_templates(everything)]
    assert sorted(owner.partition("-kubevoice")[2] for owner in owners if "RayService" not in owner) == [
        "-model-" + one(everything, "Job")["metadata"]["name"].rpartition("-")[2],
        "-postgresql",
        "-redis",
        "-speaks",
        "-tensorboard",
        "-training-template: dataset-job.yaml",
        "-training-template: job.yaml",
    ]
    pods = [owner.rpartition("/")[2] for owner in owners if owner.startswith("RayService/")]
    assert pods == ["head", "api", "gpu"]
