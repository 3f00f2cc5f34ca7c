"""The Pod Security Standard "restricted", as far as a pod's own fields say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tests.charts.objects import containers, pod_templates
from tests.charts.rendering import Object

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SECCOMP = {"RuntimeDefault", "Localhost"}


def violations(objects: Sequence[Object]) -> Iterator[str]:
    """A sentence for everything that a namespace with the standard would refuse."""
    for owner, template in pod_templates(objects):
        for problem in (*_pod(template["spec"]), *_containers(template)):
            yield f"{owner}: {problem}"


def _pod(spec: dict[str, Any]) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"{field} is on"
    if spec.get("securityContext", {}).get("sysctls"):
        yield "sysctls are set"
    for volume in spec.get("volumes", []):
        kind = next((key for key in volume if key != "name"), "emptyDir")
        if kind not in VOLUMES:
            yield f"volume {volume['name']} is a {kind}"


def _containers(template: dict[str, Any]) -> Iterator[str]:
    pod = template["spec"].get("securityContext", {})
    for container in containers(template):
        own = container.get("securityContext", {})
        both = {**pod, **own}
        for problem in (*_container(own, container), *_user(both)):
            yield f"{container['name']}: {problem}"


def _container(own: dict[str, Any], container: dict[str, Any]) -> Iterator[str]:
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "may escalate its privileges"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "keeps or adds capabilities"
    if own.get("procMount", "Default") != "Default":
        yield "unmasks /proc"
    for port in container.get("ports", []):
        if port.get("hostPort"):
            yield f"takes the host's port {port['hostPort']}"


def _user(context: dict[str, Any]) -> Iterator[str]:
    """Fields that a container inherits from its pod."""
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") not in SECCOMP:
        yield "has no seccomp profile"
