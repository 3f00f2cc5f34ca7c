"""templates/network/ingress.yaml"""

from typing import Any

from tests.charts.rendering import Object, made_by, merged, one, render

ON: dict[str, Any] = {
    "ingress": {"enabled": True, "hosts": ["speech.example.org"]},
    "exposure": {"allowUnauthenticated": True},
}

TEMPLATE = "network/ingress.yaml"


def ingress(values: dict[str, Any]) -> Object:
    return one(made_by(TEMPLATE, merged(ON, {"ingress": values})), "Ingress")


def test_there_is_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_everything_below_the_host_is_served() -> None:
    spec = ingress({})["spec"]
    backend = {"service": {"name": "voices-kubevoice", "port": {"number": 8000}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    assert spec == {"rules": [{"host": "speech.example.org", "http": {"paths": paths}}]}


def test_it_leads_to_the_service_of_the_ray_service() -> None:
    service = one(render(), "RayService")["spec"]["serveService"]["metadata"]["name"]
    path = ingress({})["spec"]["rules"][0]["http"]["paths"][0]
    assert path["backend"]["service"]["name"] == service


def test_hosts_class_certificate_and_annotations_are_those_of_the_values() -> None:
    hosts = ["speech.example.org", "voice.example.org"]
    annotations = {"nginx.ingress.kubernetes.io/proxy-buffering": "off"}
    found = ingress({"hosts": hosts, "className": "nginx", "tlsSecret": "cert", "annotations": annotations})
    assert found["metadata"]["annotations"] == annotations
    assert found["spec"]["ingressClassName"] == "nginx"
    assert found["spec"]["tls"] == [{"secretName": "cert", "hosts": hosts}]
    assert [rule["host"] for rule in found["spec"]["rules"]] == hosts
