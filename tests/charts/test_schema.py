"""values.schema.json, as Helm applies it: strict, described, and of one mind with the application's settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Chart
from helm_python.errors import HelmValuesError

from serving.settings import Settings
from tests.charts.rendering import CHART, MINIMAL, NAMESPACE, chart, merged

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
SETTINGS = SCHEMA["properties"]["settings"]["properties"]

DECIDED_ELSEWHERE = {"data", "replicas", "database", "launch"}
"""Settings that the cluster decides; serving/app.py or the pods' environment gives them."""

DECIDED_WITHIN = {
    "rvc": {"enabled", "replicas"},
    "auth": {"enabled", "root_key", "pepper"},
    "http": {"host", "port", "allow_unauthenticated"},
    "quotas": {"redis_url"},
}
"""Keys of sections for which the chart has values of its own."""

FREE = {
    "podSelector",
    "namespaceSelector",
    "nodeAffinity",
    "podAffinity",
    "podAntiAffinity",
    "valueFrom",
    "configMapRef",
}
FREE |= {"secretRef", "global", "ports", "volumes", "extraObjects"}
"""Parts that Kubernetes describes; it refuses what it does not know."""

RULES = ("type", "minimum", "maximum", "exclusiveMinimum", "pattern", "enum", "anyOf", "additionalProperties")

REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a key that is not there": ({"speech": {"minReplica": 1}}, "/speech", "minReplica"),
    "a section that is not there": ({"autoscaling": {}}, "''", "autoscaling"),
    "a number as text": ({"speech": {"gpus": "1"}}, "/speech/gpus", "want number"),
    "half a replica": ({"speech": {"minReplicas": 0.5}}, "/speech/minReplicas", "want integer"),
    "one and a half GPUs": ({"speech": {"gpus": 1.5}}, "/speech/gpus", "1.5"),
    "a negative delay": ({"speech": {"upscaleDelaySeconds": -1}}, "/speech/upscaleDelaySeconds", "-1"),
    "no API replica": ({"api": {"minReplicas": 0}}, "/api/minReplicas", "want 1"),
    "a surge of more than all": ({"speech": {"maxSurgePercent": 200}}, "/speech/maxSurgePercent", "want 100"),
    "an engine chosen by what is there": ({"settings": {"engine": "auto"}}, "/settings/engine", "'xtts', 'espeak'"),
    "a setting that is not there": ({"settings": {"xtts": {"speed": 2}}}, "/settings/xtts", "speed"),
    "a limit below what it may be": ({"settings": {"limits": {"input_chars": 0}}}, "/limits/input_chars", "want 1"),
    "a reference of no length": ({"settings": {"limits": {"reference_min_s": 0}}}, "/reference_min_s", "0"),
    "a device that is none": ({"settings": {"xtts": {"device": "gpu"}}}, "/settings/xtts/device", "gpu"),
    "a log level in small letters": ({"settings": {"log": {"level": "info"}}}, "/settings/log/level", "'INFO'"),
    "a tag in the repository": ({"image": {"repository": "kubevoice:dev"}}, "/image/repository", "kubevoice:dev"),
    "a tag that is a number": ({"image": {"tag": 1}}, "/image/tag", "want string"),
    "a digest without its algorithm": ({"image": {"digest": "abc"}}, "/image/digest", "abc"),
    "a digest that is too short": ({"image": {"digest": "sha256:abc"}}, "/image/digest", "sha256:abc"),
    "a pull policy that is none": ({"image": {"pullPolicy": "Maybe"}}, "/image/pullPolicy", "'Always'"),
    "a pull secret without its name": ({"imagePullSecrets": ["registry"]}, "/imagePullSecrets/0", "want object"),
    "a size in words": ({"storage": {"size": "100 GB"}}, "/storage/size", "100 GB"),
    "a volume for one pod": ({"storage": {"accessMode": "ReadWriteOncePod"}}, "/storage/accessMode", "'ReadWriteOnce'"),
    "a resource in words": (
        {"ray": {"head": {"resources": {"limits": {"memory": "8 gigs"}}}}},
        "/ray/head/resources/limits/memory",
        "8 gigs",
    ),
    "a version of Ray that is a number": ({"ray": {"version": 2.6}}, "/ray/version", "want string"),
    "a start parameter that is a number": ({"ray": {"headStartParams": {"num-cpus": 1}}}, "/num-cpus", "want string"),
    "no worker group": ({"workerGroups": []}, "/workerGroups", "minItems"),
    "a group without its bounds": (
        {"workerGroups": [{"name": "a", "runs": ["api"]}]},
        "/workerGroups/0",
        "minReplicas",
    ),
    "a group that runs something else": (
        {"workerGroups": [{"name": "a", "runs": ["training"], "minReplicas": 1, "maxReplicas": 1, "resources": {}}]},
        "/workerGroups/0/runs/0",
        "'api', 'speech'",
    ),
    "a group with a capital letter": (
        {"workerGroups": [{"name": "A10", "runs": ["api"], "minReplicas": 1, "maxReplicas": 1, "resources": {}}]},
        "/workerGroups/0/name",
        "A10",
    ),
    "a toleration with a slip": (
        {"training": {"tolerations": [{"keys": "nvidia.com/gpu"}]}},
        "/training/tolerations/0",
        "keys",
    ),
    "a node label that is a truth": (
        {"training": {"nodeSelector": {"gpu": True}}},
        "/training/nodeSelector/gpu",
        "want string",
    ),
    "a variable that is a number": (
        {"pods": {"env": [{"name": "A", "value": 1}]}},
        "/pods/env/0/value",
        "want string",
    ),
    "a label that is too long": ({"labels": {"team": "x" * 64}}, "/labels/team", "maxLength"),
    "root": ({"pods": {"userId": 0}}, "/pods/userId", "want 1"),
    "a database of another kind": ({"postgresql": {"url": "mysql://host/name"}}, "/postgresql/url", "mysql"),
    "a Redis without a port": ({"redis": {"address": "redis"}}, "/redis/address", "redis"),
    "an image that moves": ({"redis": {"bundled": {"image": "redis"}}}, "/redis/bundled/image", "redis"),
    "a Secret with a capital letter": ({"secrets": {"existingSecret": "Keys"}}, "/secrets/existingSecret", "Keys"),
    "a digest of a file that is none": (
        {"models": {"xtts": {"download": {"sha256": {"model.pth": "abc"}}}}},
        "/sha256/model.pth",
        "abc",
    ),
    "a host with a path": ({"ingress": {"hosts": ["example.org/speech"]}}, "/ingress/hosts/0", "example.org/speech"),
    "a host without quotes around its star": ({"ingress": {"hosts": ["*"]}}, "/ingress/hosts/0", "*"),
    "a route to nobody": ({"route": {"parentRefs": [{"namespace": "gateways"}]}}, "/route/parentRefs/0", "name"),
    "an upgrade of another kind": ({"upgrade": {"type": "Recreate"}}, "/upgrade/type", "'NewCluster'"),
    "an address range that is none": (
        {"networkPolicy": {"databases": ["10.0.0.1"]}},
        "/networkPolicy/databases/0",
        "10.0.0.1",
    ),
    "a port beyond all": ({"networkPolicy": {"apiServer": {"ports": [70000]}}}, "/apiServer/ports/0", "70,000"),
    "a peer with a slip": (
        {"networkPolicy": {"clients": [{"podselector": {}}]}},
        "/networkPolicy/clients/0",
        "podselector",
    ),
    "no node at all": ({"training": {"nodes": 0}}, "/training/nodes", "want 1"),
    "a bound of no time": ({"training": {"activeDeadlineSeconds": 0}}, "/training/activeDeadlineSeconds", "want 1"),
    "a bound in words": ({"training": {"activeDeadlineSeconds": "a day"}}, "/activeDeadlineSeconds", "maxLength"),
    "GPUs for datasets": ({"training": {"datasets": {"gpus": 1}}}, "/training/datasets", "gpus"),
    "a quota in words": ({"training": {"gpuQuota": "four"}}, "/training/gpuQuota", "four"),
    "an interval without a unit": (
        {"monitoring": {"podMonitors": {"interval": "15"}}},
        "/monitoring/podMonitors/interval",
        "15",
    ),
    "a name that is too long": ({"fullnameOverride": "v" * 41}, "/fullnameOverride", "maxLength"),
}


def objects(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, schema) of everything below ``node`` that describes a value."""
    if not isinstance(node, dict):
        return
    yield path, node
    for part in ("properties", "definitions"):
        for key, found in node.get(part, {}).items():
            yield from objects(found, f"{path}/{key}")
    for part in ("items", "additionalProperties"):
        yield from objects(node.get(part), f"{path}/*")


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """``node`` with what it refers to."""
    if "$ref" in node:
        return {**SCHEMA["definitions"][node["$ref"].rpartition("/")[2]], **node}
    return node


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_by_its_path(case: str) -> None:
    values, path, words = REFUSED[case]
    with pytest.raises(HelmValuesError) as refused:
        chart().validate_schema(merged(MINIMAL, values))
    line = next(line for line in str(refused.value).splitlines() if path in line and words in line)
    assert line.strip().startswith("- at ")


def test_every_object_names_its_keys_or_is_a_map_of_one_kind() -> None:
    loose = [
        path
        for path, node in objects(SCHEMA)
        if node.get("type") == "object"
        and "additionalProperties" not in node
        and not any(part in FREE for part in path.split("/"))
    ]
    assert loose == []


def test_every_leaf_has_a_type_and_a_description() -> None:
    for path, node in objects({"properties": SCHEMA["properties"]}):
        if "properties" in node or "/*" in path:
            continue
        found = resolved(node)
        assert {"type", "enum", "anyOf"} & set(found), path
        assert found.get("description"), f"{path} has no description"


def test_helm_3_reads_it_too() -> None:
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    text = json.dumps(SCHEMA)
    for newer in ("$defs", "prefixItems", "dependentRequired", "unevaluatedProperties"):
        assert newer not in text


def test_settings_are_those_of_the_application() -> None:
    known = Settings.model_json_schema()
    assert set(SETTINGS) == set(known["properties"]) - DECIDED_ELSEWHERE
    for section in set(SETTINGS) - {"engine"}:
        theirs = known["$defs"][known["properties"][section]["$ref"].rpartition("/")[2]]["properties"]
        assert set(SETTINGS[section]["properties"]) == set(theirs) - DECIDED_WITHIN.get(section, set()), section
        for key, ours in SETTINGS[section]["properties"].items():
            of_both = [{rule: node[rule] for rule in RULES if rule in node} for node in (ours, theirs[key])]
            if "enum" in of_both[1]:
                del of_both[1]["type"]
            assert of_both[0] == of_both[1], f"settings.{section}.{key}"


def test_the_engine_is_one_of_the_application_s_but_never_left_to_chance() -> None:
    engines = Settings.model_json_schema()["properties"]["engine"]["enum"]
    assert set(SETTINGS["engine"]["enum"]) == set(engines) - {"auto"}


def test_the_defaults_of_settings_in_the_values_are_good_settings() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())["settings"]
    assert Settings(**values).engine == "xtts"


def test_whole_numbers_may_be_written_as_kubernetes_quantities() -> None:
    resources = {"requests": {"cpu": 2, "memory": "4e9"}, "limits": {"cpu": "2.5", "memory": 8589934592}}
    chart().validate_schema(merged(MINIMAL, {"ray": {"head": {"resources": resources}}}))


def test_the_chart_can_be_a_part_of_another(tmp_path: Path) -> None:
    parent = tmp_path / "platform"
    (parent / "charts").mkdir(parents=True)
    shutil.copytree(CHART, parent / "charts" / "kubevoice")
    dependency = {"name": "kubevoice", "version": Chart.load(CHART).version}
    facts = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(facts))
    values = {"global": {"imageRegistry": "registry.example.org"}, "kubevoice": MINIMAL}
    rendered = Chart.load(parent).render(values, name="voices", namespace=NAMESPACE, is_install=True)
    assert "kind: RayService" in rendered["platform/charts/kubevoice/templates/ray/rayservice.yaml"]
