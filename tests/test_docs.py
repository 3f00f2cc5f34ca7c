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


def test_the_readme_leads_to_every_page() -> None:
    table = (ROOT / "README.md").read_text().split("## Find your way")[1]
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in table] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings_find_them(page: Path) -> None:
    for target, heading in re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", page.read_text()):
        assert heading in headings(page.parent / target if target else page), f"{page.name} links to {target}#{heading}"


def headings(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_needs_the_database_is_run_in_a_pod_that_reaches_it(page: Path) -> None:
    """The chart's network policies let the pods of the API there, and no others."""
    text = page.read_text()
    for command in re.findall(r"kubectl\b.*\bexec\b.* -- kubevoice .*", text):
        assert '"$POD" -c ray-worker' in command
        assert re.search(r"^POD=.*kubevoice\.io/group=api ", text, re.MULTILINE), command
