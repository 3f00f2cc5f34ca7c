"""Writes the goldens."""

from tests.charts.goldens import golden, path
from tests.charts.rendering import PROFILES

for profile in PROFILES:
    path(profile).write_text(golden(profile))
