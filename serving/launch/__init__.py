"""Runs: Kubernetes Jobs made from the chart's template, which belongs to the platform team.

Only the template's shape is known here, nothing of what a run does. Everything is synchronous; an event loop calls it
through threads.
"""

from serving.launch.cluster import Cluster, connect
from serving.launch.launcher import Launcher
from serving.launch.permissions import PERMISSIONS, Permission
from serving.launch.run import Run

__all__ = ["PERMISSIONS", "Cluster", "Launcher", "Permission", "Run", "connect"]
