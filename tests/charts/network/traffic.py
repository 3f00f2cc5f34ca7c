"""Judges traffic by NetworkPolicies as a network plugin would: policies add up, and both ends have to allow it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.charts.objects import jobs_of
from tests.charts.rendering import NAMESPACE, Object


@dataclass(frozen=True)
class Pod:
    """A pod; outside the release's namespace no policy of ours selects it."""

    labels: Mapping[str, str]
    namespace: str = NAMESPACE


End = Pod | str
"""A pod, or an address outside the cluster."""


def pods(objects: Iterable[Object]) -> dict[str, Pod]:
    """Pods of the release by component; workers as worker/<group>."""
    found = {}
    for labels in _labels(objects):
        component = labels["app.kubernetes.io/component"]
        group = labels.get("kubevoice.io/group")
        found[f"{component}/{group}" if group else component] = Pod(labels)
    return found


def allowed(objects: Iterable[Object], source: End, destination: End, port: int, protocol: str = "TCP") -> bool:
    policies = [item for item in objects if item["kind"] == "NetworkPolicy"]
    return all(
        isinstance(here, str) or _passes(policies, here, there, direction, port, protocol)
        for here, there, direction in ((source, destination, "Egress"), (destination, source, "Ingress"))
    )


def _passes(policies: list[Object], here: Pod, there: End, direction: str, port: int, protocol: str) -> bool:
    specs = [policy["spec"] for policy in policies if here.namespace == policy["metadata"]["namespace"]]
    ours = [spec for spec in specs if direction in spec["policyTypes"] and _selects(spec["podSelector"], here.labels)]
    rules = [rule for spec in ours for rule in spec.get(direction.lower()) or []]
    return not ours or any(_matches(rule, direction, there, port, protocol) for rule in rules)


def _matches(rule: Mapping[str, Any], direction: str, there: End, port: int, protocol: str) -> bool:
    peers, ports = rule.get("to" if direction == "Egress" else "from"), rule.get("ports")
    return (not peers or any(_is(peer, there) for peer in peers)) and (
        not ports
        or any(
            known["port"] <= port <= known.get("endPort", known["port"]) and known.get("protocol", "TCP") == protocol
            for known in ports
        )
    )


def _is(peer: Mapping[str, Any], end: End) -> bool:
    if isinstance(end, str):
        return "ipBlock" in peer and ipaddress.ip_address(end) in ipaddress.ip_network(peer["ipBlock"]["cidr"])
    if "ipBlock" in peer:
        return False
    names = peer.get("namespaceSelector")
    at_home = end.namespace == NAMESPACE
    place = at_home if names is None else _selects(names, {"kubernetes.io/metadata.name": end.namespace})
    return place and _selects(peer.get("podSelector", {}), end.labels)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] in ("In", "NotIn")
        if (labels.get(rule["key"]) in rule["values"]) is not (rule["operator"] == "In"):
            return False
    wanted: Mapping[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def _labels(objects: Iterable[Object]) -> list[dict[str, str]]:
    found = []
    for item in objects:
        match item["kind"]:
            case "RayService":
                cluster = item["spec"]["rayClusterConfig"]
                groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
                found += [group["template"]["metadata"]["labels"] for group in groups]
            case "Job" | "StatefulSet" | "Deployment":
                found.append(item["spec"]["template"]["metadata"]["labels"])
            case "Pod":
                found.append(item["metadata"]["labels"])
            case "ConfigMap":
                found += [job["spec"]["template"]["metadata"]["labels"] for job in jobs_of(item).values()]
    return found
