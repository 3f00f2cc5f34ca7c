"""templates/redis/service.yaml"""

from tests.charts.rendering import made_by, one, render

TEMPLATE = "redis/service.yaml"
BUNDLED = {"redis": {"bundled": {"enabled": True}}, "ray": {"gcsFaultTolerance": {"enabled": True}}}


def test_there_is_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_it_leads_to_the_port_of_the_bundled_pod() -> None:
    service = one(made_by(TEMPLATE, BUNDLED), "Service")
    pod = one(render(BUNDLED), "StatefulSet")["spec"]["template"]
    assert service["metadata"]["name"] == "voices-kubevoice-redis"
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    port = service["spec"]["ports"][0]
    assert (port["port"], port["targetPort"]) == (6379, pod["spec"]["containers"][0]["ports"][0]["name"])
