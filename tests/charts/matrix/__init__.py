"""Values that the chart is rendered and checked with: each profile, each feature on its own, and much at once."""

from __future__ import annotations

from tests.charts.matrix.around import AROUND
from tests.charts.matrix.cluster import CLUSTER
from tests.charts.matrix.features import BUNDLED_REDIS, DOWNLOAD, EVERYTHING, MONITORED, Values
from tests.charts.rendering import PROFILES, installable, merged

CASES: dict[str, Values] = {
    "the defaults with a database": {},
    **{f"profile {name}": installable(name) for name in PROFILES},
    **{f"profile {name} with monitoring": merged(installable(name), MONITORED) for name in PROFILES},
    **{
        f"profile {name} without network policies": merged(installable(name), {"networkPolicy": {"enabled": False}})
        for name in PROFILES
    },
    **{
        f"profile {name} without training": merged(installable(name), {"training": {"enabled": False}})
        for name in PROFILES
    },
    "the small profile as it may grow": merged(
        installable("dev"), BUNDLED_REDIS, DOWNLOAD, {"settings": {"engine": "xtts", "xtts": {"device": "cpu"}}}
    ),
    "everything": EVERYTHING,
    "nothing that can be left out": {
        "networkPolicy": {"enabled": False},
        "podDisruptionBudgets": {"enabled": False},
        "training": {"enabled": False},
        "ray": {"authentication": False, "haProxy": False},
        "models": {"xtts": {"wait": False}},
        "storage": {"existingClaim": "voices", "keep": False},
        "secrets": {"existingSecret": "voices-keys"},
    },
    **CLUSTER,
    **AROUND,
}
"""By what they are; tests.charts.rendering completes each with a database."""
