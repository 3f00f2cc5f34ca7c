"""What objects of a release say of each other: each check yields a sentence for every name that leads nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.charts.objects import JOBS, containers, pod_templates, title, with_jobs
from tests.charts.rendering import Object

NAMED: dict[str, str] = {
    "claimName": "PersistentVolumeClaim",
    "priorityClassName": "PriorityClass",
    "secretName": "Secret",
    "serviceAccountName": "ServiceAccount",
}
"""Fields whose text is the name of an object of that kind."""

OWNERS = {"StatefulSet", "Deployment"}
REFERENCES = {
    "secretKeyRef": "Secret",
    "secretRef": "Secret",
    "configMapKeyRef": "ConfigMap",
    "configMapRef": "ConfigMap",
}
"""Fields with the `name` of an object, some with a `key` of it."""


def dangling_mounts(objects: Sequence[Object]) -> Iterator[str]:
    """Mounts without a volume; claims of a StatefulSet are volumes of its pods."""
    claims = {
        title(item): {claim["metadata"]["name"] for claim in item["spec"].get("volumeClaimTemplates", [])}
        for item in objects
        if item["kind"] == "StatefulSet"
    }
    for owner, template in pod_templates(objects):
        volumes = [volume["name"] for volume in template["spec"].get("volumes", [])]
        if len(volumes) != len(set(volumes)):
            yield f"{owner} has two volumes of the same name: {volumes}"
        for container in containers(template):
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            if len(paths) != len(set(paths)):
                yield f"{owner}: {container['name']} mounts twice at the same path: {paths}"
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in {*volumes, *claims.get(owner, ())}:
                    yield f"{owner}: {container['name']} mounts {mount['name']}, which is no volume"


def strangers(objects: Sequence[Object], values: Mapping[str, Any]) -> Iterator[str]:
    """Names of Secrets, ConfigMaps, claims, accounts and classes that are neither rendered nor given in ``values``."""
    rendered = {(item["kind"], item["metadata"].get("name", "")): item for item in objects}
    given = set(_texts(values))
    for item in with_jobs(objects):
        for kind, name, key in _named(item):
            found = rendered.get((kind, name))
            if not found and name not in given:
                yield f"{title(item)} names the {kind} {name}, which is neither rendered nor in the values"
            if found and key and key not in {**found.get("data", {}), **found.get("stringData", {})}:
                yield f"{title(item)} names the key {key} that {kind} {name} does not have"


def _named(value: Any) -> Iterator[tuple[str, str, str]]:
    """(kind, name, key) of everything that ``value`` refers to."""
    if isinstance(value, list):
        for item in value:
            yield from _named(item)
    elif isinstance(value, dict):
        for field, inner in value.items():
            if field in NAMED and isinstance(inner, str):
                yield NAMED[field], inner, ""
            elif field in REFERENCES and not inner.get("optional"):
                yield REFERENCES[field], inner["name"], inner.get("key", "")
            elif field == "imagePullSecrets":
                yield from (("Secret", secret["name"], "") for secret in inner)
            elif field == "env":
                templates = (one for one in inner if one["name"] == "KUBEVOICE_LAUNCH__TEMPLATE")
                yield from (("ConfigMap", template["value"], key) for template in templates for key in JOBS)
                yield from _named(inner)
            else:
                yield from _named(inner)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def idle_selectors(objects: Sequence[Object]) -> Iterator[str]:
    """Services, budgets, monitors and owners of pods that select none, and ports that the selected do not name."""
    templates = [template for _, template in pod_templates(objects)]
    for item in objects:
        selector, ports = _selector(item)
        if selector is None:
            continue
        own = [item["spec"]["template"]] if item["kind"] in OWNERS else templates
        selected = [pod for pod in own if selector.items() <= pod["metadata"].get("labels", {}).items()]
        if not selected:
            yield f"{title(item)} selects no pod by {selector}"
        known = {
            known
            for pod in selected
            for container in containers(pod)
            for port in container.get("ports", [])
            for known in (port.get("name"), port["containerPort"])
        }
        yield from (
            f"{title(item)} leads to port {port}, which its pods do not have" for port in ports if port not in known
        )


def _selector(item: Object) -> tuple[dict[str, str] | None, list[str | int]]:
    """The labels that ``item`` selects pods by, and the ports it expects of them."""
    spec = item.get("spec", {})
    match item["kind"]:
        case "Service":
            return spec.get("selector"), [port.get("targetPort", port["port"]) for port in spec["ports"]]
        case "PodDisruptionBudget" | "StatefulSet" | "Deployment":
            return spec["selector"]["matchLabels"], []
        case "PodMonitor":
            return spec["selector"]["matchLabels"], [end["port"] for end in spec["podMetricsEndpoints"]]
    return None, []


def dead_backends(objects: Sequence[Object]) -> Iterator[str]:
    """Ingresses and routes to a Service or port that neither the chart nor KubeRay makes."""
    services = {
        item["metadata"]["name"]: {port["port"] for port in item["spec"]["ports"]}
        for item in objects
        if item["kind"] == "Service"
    }
    for item in objects:
        if item["kind"] == "RayService" and "serveService" in item["spec"]:
            service = item["spec"]["serveService"]
            services[service["metadata"]["name"]] = {port["port"] for port in service["spec"]["ports"]}
    for item in objects:
        for name, port in _backends(item):
            if port not in services.get(name, set()):
                yield f"{title(item)} leads to the Service {name}, port {port}, which is not there"


def _backends(item: Object) -> Iterator[tuple[str, int]]:
    if item["kind"] == "Ingress":
        for rule in item["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                yield path["backend"]["service"]["name"], path["backend"]["service"]["port"]["number"]
    elif item["kind"] == "HTTPRoute":
        for rule in item["spec"]["rules"]:
            yield from ((backend["name"], backend["port"]) for backend in rule["backendRefs"])
