"""templates/postgresql/service.yaml"""

from tests.charts.rendering import made_by, one, render

TEMPLATE = "postgresql/service.yaml"
BUNDLED = {"postgresql": {"existingSecret": {"name": ""}, "bundled": {"enabled": True}}}


def test_there_is_none_beside_a_database_of_yours() -> None:
    assert made_by(TEMPLATE) == []


def test_it_leads_to_the_port_of_the_bundled_pod() -> None:
    service = one(made_by(TEMPLATE, BUNDLED), "Service")
    pod = one(render(BUNDLED), "StatefulSet")["spec"]["template"]
    assert service["metadata"]["name"] == "voices-kubevoice-postgresql"
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    port = service["spec"]["ports"][0]
    assert (port["port"], port["targetPort"]) == (5432, pod["spec"]["containers"][0]["ports"][0]["name"])
