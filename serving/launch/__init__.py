"""Runs: Kubernetes Jobs made from the chart's template, which belongs to the platform team, or supervised processes.

Only the template's shape is known here, nothing of what a run does. Everything is synchronous; an event loop calls it
through threads.
"""

from typing import TYPE_CHECKING, Any

from serving.launch.base import Run, RunLauncher, Watch
from serving.launch.choice import open_launcher
from serving.launch.permissions import PERMISSIONS, Permission

if TYPE_CHECKING:
    from serving.launch.cluster import Cluster, connect
    from serving.launch.launcher import Launcher

__all__ = [
    "PERMISSIONS", "Cluster", "Launcher", "Permission", "Run", "RunLauncher", "Watch", "connect", "open_launcher",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """What takes the client of Kubernetes, which no supervisor of a local run should wait for."""
    if name in ("Cluster", "connect"):
        from serving.launch import cluster

        return getattr(cluster, name)
    if name == "Launcher":
        from serving.launch.launcher import Launcher

        return Launcher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
