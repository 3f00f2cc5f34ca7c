"""templates/training/service.yaml"""

from typing import Any

import yaml

from serving.launch.template import KEY
from tests.charts.rendering import made_by, merged, one, render

TEMPLATE = "training/service.yaml"
NODES: dict[str, Any] = {"training": {"nodes": 2}}


def test_a_job_on_one_node_needs_none() -> None:
    assert made_by(TEMPLATE) == []
    assert made_by(TEMPLATE, merged(NODES, {"training": {"enabled": False}})) == []


def test_it_names_every_trainer_before_it_is_ready() -> None:
    spec = one(made_by(TEMPLATE, NODES), "Service")["spec"]
    assert (spec["clusterIP"], spec["publishNotReadyAddresses"]) == ("None", True)
    config_map = one(render(NODES), "ConfigMap", "voices-kubevoice-training-template")
    pod = yaml.safe_load(config_map["data"][KEY])["spec"]["template"]
    assert spec["selector"].items() <= pod["metadata"]["labels"].items()
    assert spec["ports"][0]["targetPort"] == pod["spec"]["containers"][0]["ports"][0]["name"]


def test_it_has_the_name_that_the_pods_names_are_below() -> None:
    service = one(made_by(TEMPLATE, NODES), "Service")
    config_map = one(render(NODES), "ConfigMap", "voices-kubevoice-training-template")
    pod = yaml.safe_load(config_map["data"][KEY])["spec"]["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
