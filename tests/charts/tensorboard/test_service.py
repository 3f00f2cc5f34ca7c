"""templates/tensorboard/service.yaml"""

from tests.charts.rendering import made_by, one, render

TEMPLATE = "tensorboard/service.yaml"
ON = {"tensorboard": {"enabled": True}}


def test_there_is_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_it_leads_to_the_port_of_the_pod_from_inside_the_cluster_only() -> None:
    service = one(made_by(TEMPLATE, ON), "Service")
    pod = one(render(ON), "Deployment")["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert "type" not in service["spec"]
    (port,) = service["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (6006, pod["spec"]["containers"][0]["ports"][0]["name"])
