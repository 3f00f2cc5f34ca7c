"""The documentation says what is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serving.metrics import ALL
from serving.settings import setting_rows

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_settings_page_is_the_settings() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `(KUBEVOICE_\w+)` \| (?:`(.*?)`)? ?\| (.*) \|$", text, re.MULTILINE)
    expected = [(name, default, meaning) for name, default, meaning in setting_rows()]
    assert [(name, default, meaning) for name, default, meaning in rows] == expected


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    for metric in ALL:
        suffix = "_total" if metric.kind == "counter" else ""
        assert f"`ray_{metric.name}{suffix}`" in text, metric.name
