"""Every right the launcher needs; the chart's Role grants these and no others (tests/charts/test_rbac.py)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Permission:
    """One verb on one resource in the launcher's namespace.

    ``needed_by`` are the methods of Launcher that ask for it. ``template_only`` means that the ConfigMap with the Job
    template is the only object it is needed for.
    """

    group: str
    resource: str
    verb: str
    needed_by: tuple[str, ...]
    template_only: bool = False

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group}"


GET_TEMPLATE = Permission("", "configmaps", "get", ("start",), template_only=True)
CREATE_JOBS = Permission("batch", "jobs", "create", ("start",))
LIST_JOBS = Permission("batch", "jobs", "list", ("runs", "status", "changes", "logs", "stop"))
DELETE_JOBS = Permission("batch", "jobs", "delete", ("stop",))
LIST_PODS = Permission("", "pods", "list", ("runs", "status", "changes", "logs", "ending"))
GET_LOGS = Permission("", "pods/log", "get", ("logs",))
LIST_EVENTS = Permission("", "events", "list", ("status", "changes", "logs"))
"""Only events say that a quota holds a Job's pod back: the pod does not exist then."""

PERMISSIONS = (GET_TEMPLATE, CREATE_JOBS, LIST_JOBS, DELETE_JOBS, LIST_PODS, GET_LOGS, LIST_EVENTS)
