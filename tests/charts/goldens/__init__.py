"""The objects of each profile as text, to be read in diffs; ``python -m tests.charts.goldens`` writes them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.charts.rendering import installable, render_texts

FOLDER = Path(__file__).parent
RANDOM = re.compile(
    r'^(  (?:api-key-pepper|auth_token|postgresql-password|redis-password)): "[A-Za-z0-9+/=]{64}"$', re.MULTILINE
)
COPIES = {"monitoring/dashboards.yaml", "monitoring/prometheusrule.yaml"}
"""Templates that make copies of files of the chart, which are read there."""


def golden(profile: str) -> str:
    """What Helm renders for a profile, each object under its template's name, without what is random."""
    return "---\n".join(
        f"# {template}\n{document}\n"
        for template, text in sorted(render_texts(installable(profile)).items())
        if template not in COPIES
        for document in documents(text)
    )


def documents(text: str) -> list[str]:
    """The documents of ``text`` without blank lines and spaces at the ends of lines, random keys replaced by a word."""
    masked = RANDOM.sub(r'\1: "random"', text)
    parts = re.split(r"^---$", masked, flags=re.MULTILINE)
    tidied = ("\n".join(line.rstrip() for line in part.splitlines() if line.strip()) for part in parts)
    return [part for part in tidied if part]


def path(profile: str) -> Path:
    return FOLDER / f"{profile}.yaml"
