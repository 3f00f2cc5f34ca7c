"""The Job template and what a run adds to it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from kubernetes import client

from serving.errors import ConfigurationError, InvalidRequest
from serving.launch import Launcher
from serving.launch.template import filled, parsed
from tests.factories.kubernetes_api import LOCAL_TEMPLATE, KubernetesApi

SOURCE = "job.yaml of ConfigMap x"


def job(**given: Any) -> dict[str, Any]:
    options = {"name": "a", "command": ["true"], "env": {}, "labels": {}, **given}
    as_sent: Any = client.ApiClient().sanitize_for_serialization
    whole: dict[str, Any] = as_sent(filled(LOCAL_TEMPLATE, SOURCE, **options))
    return whole


def container(whole: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = whole["spec"]["template"]["spec"]["containers"][0]
    return found


def test_only_what_a_run_may_set_differs_from_the_template() -> None:
    made = job(env={"A": "1"})
    del made["metadata"]["labels"]["kubevoice.io/run"], made["metadata"]["name"]
    del made["spec"]["template"]["metadata"]["labels"]["kubevoice.io/run"]
    del container(made)["args"]
    assert container(made)["env"].pop() == {"name": "A", "value": "1"}
    expected = copy.deepcopy(LOCAL_TEMPLATE)
    del expected["metadata"]["name"]
    assert made == expected


def test_the_template_itself_stays_as_it_is() -> None:
    before = copy.deepcopy(LOCAL_TEMPLATE)
    job(env={"HOME": "/data"}, labels={"kubevoice.io/tenant": "acme"})
    assert before == LOCAL_TEMPLATE


def test_a_variable_replaces_the_templates_one_of_that_name() -> None:
    assert container(job(env={"HOME": "/data/home"}))["env"] == [
        {"name": "KUBEVOICE_DATA", "value": "/data"},
        {"name": "HOME", "value": "/data/home"},
    ]


def test_kubernetes_replaces_nothing_in_what_a_caller_wrote() -> None:
    made = container(job(command=["sh", "-c", "echo $(date) $$ $HOME"], env={"A": "$(HOME)"}))
    assert made["args"] == ["sh", "-c", "echo $$(date) $$$$ $$HOME"]
    assert made["env"][-1]["value"] == "$$(HOME)"


@pytest.mark.parametrize("name", ["", "Alice", "a_b", "-a", "a-", "a.b", "a/../b", "a" * 64, "é", "a\n"])
def test_a_name_that_kubernetes_would_refuse_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequest, match="lower-case letters") as raised:
        job(name=name)
    assert raised.value.param == "name"


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"command": []}, "command"),
        ({"command": [""]}, "command"),
        ({"env": {"a-b": "1"}}, "env"),
        ({"env": {"": "1"}}, "env"),
        ({"labels": {"kubevoice.io/tenant": "a b"}}, "kubevoice.io/tenant"),
    ],
)
def test_other_bad_values_are_refused_by_field(given: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        job(**given)
    assert raised.value.param == param


def changed(path: str, value: Any) -> str:
    whole = copy.deepcopy(LOCAL_TEMPLATE)
    *parents, last = path.split(".")
    at: Any = whole
    for part in parents:
        at = at[int(part)] if part.isdigit() else at[part]
    at[last] = value
    return yaml.safe_dump(whole)


CONTAINER = "spec.template.spec.containers.0"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no job.yaml of"),
        ("", "there is no job.yaml of"),
        ("a: [", "is not YAML"),
        ("- a", "is not a Job of batch/v1"),
        ("kind: CronJob\napiVersion: batch/v1", "is not a Job of batch/v1"),
        ("kind: Job\napiVersion: batch/v1", "spec.template.spec is missing"),
        (changed("spec.backofLimit", 1), "spec.backofLimit: Extra inputs are not permitted"),
        (changed("spec.backoffLimit", "six"), "spec.backoffLimit: Input should be a valid integer"),
        (changed("spec.template.spec", None), "spec.template.spec is missing"),
        (changed("spec.template.spec.containers", []), "none named training"),
        (changed(f"{CONTAINER}.name", "main"), "none named training (it has main)"),
        (changed(f"{CONTAINER}.imagePullPolcy", "Always"), f"{CONTAINER}.imagePullPolcy: Extra inputs"),
        (changed(f"{CONTAINER}.env", [{"value": "1"}]), f"{CONTAINER}.env.0.name: Field required"),
    ],
)
def test_a_bad_template_names_the_config_map_and_the_field(text: str | None, words: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parsed(text, SOURCE)
    assert SOURCE in str(raised.value)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_template_that_is_not_there_names_config_map_and_setting(launcher: Launcher, api: KubernetesApi) -> None:
    del api.emulator.objects["v1/configmaps", "speech", "voices-kubevoice-training-template"]
    with pytest.raises(
        ConfigurationError, match="voices-kubevoice-training-template in namespace speech does not"
    ) as it:
        launcher.start("a", ["true"])
    assert it.value.param == "launch.template"
    assert "KUBEVOICE_LAUNCH__TEMPLATE" in str(it.value)


def test_a_bad_template_starts_nothing(launcher: Launcher, api: KubernetesApi) -> None:
    api.add_template(changed("spec.backofLimit", 1))
    with pytest.raises(ConfigurationError, match=r"voices-kubevoice-training-template .*: spec\.backof"):
        launcher.start("a", ["true"])
    assert [request.method.value for request in api.requests] == ["GET"]
