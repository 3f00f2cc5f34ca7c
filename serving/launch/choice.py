"""Which launcher the settings mean."""

from __future__ import annotations

import os

from serving.errors import ConfigurationError, NotFound
from serving.launch.base import RunLauncher
from serving.launch.local import FOLDER, LocalLauncher
from serving.settings import PREFIX, Settings


def launcher_kind(settings: Settings) -> str:
    """``kubernetes``, ``local`` or ``none``. In a pod without a template nobody has provided for runs."""
    launch = settings.launch
    if launch.launcher != "auto":
        return launch.launcher
    if launch.template:
        return "kubernetes"
    return "none" if "KUBERNETES_SERVICE_HOST" in os.environ else "local"


def open_launcher(settings: Settings) -> RunLauncher:
    """Raises NotFound (``not_served``) where runs are switched off, ConfigurationError without access to a cluster."""
    kind = launcher_kind(settings)
    if kind == "none":
        raise NotFound(
            "training is switched off here: launch.launcher is none, or auto in a pod without launch.template; the "
            "chart sets that with training.enabled",
            code="not_served",
        )
    if kind == "local":
        return local_launcher(settings)
    if not settings.launch.template:
        raise ConfigurationError(
            f"launch.launcher is kubernetes and no Job template is named: set {PREFIX}LAUNCH__TEMPLATE to the "
            "ConfigMap that the chart makes, <release>-kubevoice-training-template",
            param="launch.template",
        )
    from serving.launch.cluster import connect
    from serving.launch.launcher import Launcher

    return Launcher(connect(settings.launch.namespace), settings.launch.template)


def local_launcher(settings: Settings) -> LocalLauncher:
    """The launcher of this machine."""
    launch = settings.launch
    return LocalLauncher(
        settings.data / FOLDER,
        env={f"{PREFIX}DATA": str(settings.data)},
        at_once=launch.at_once,
        retries=launch.retries,
        grace_s=launch.grace_s,
    )
