"""Writes the tables of charts/kubevoice/README.md: values from the `# --` comments of values.yaml, fields of a worker group from
values.schema.json. Run as ``python -m charts.values_table``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "kubevoice"
KEY = re.compile(r"^( *)([A-Za-z]\w*):(?: |$)")
LIST_ITEM = re.compile(r"^( *)- ")
COMMENT = re.compile(r"^ *# (-- )?(.*)$")
LONGEST_DEFAULT = 100
"""Characters; a longer default is looked up in values.yaml."""


def comments(text: str) -> dict[str, str]:
    """Dotted paths of the keys in ``text`` (YAML) that have a `# --` comment, with the comment as one line."""
    found: dict[str, str] = {}
    comment: list[str] = []
    for path, line in _lines(text):
        match = COMMENT.match(line)
        if match and (match[1] or comment):
            comment = [*([] if match[1] else comment), match[2]]
            continue
        if path and comment:
            found[path] = " ".join(comment)
        comment = []
    return found


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Each line with the dotted path of the key it sets; empty for comments and for what is inside lists."""
    parents: list[tuple[int, str]] = []
    list_at: int | None = None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        item, key = LIST_ITEM.match(line), KEY.match(line)
        if list_at is not None and key and indent <= list_at:
            list_at = None
        if item and list_at is None:
            list_at = indent
        if not key or list_at is not None:
            yield "", line
            continue
        parents = [parent for parent in parents if parent[0] < indent] + [(indent, key[2])]
        yield ".".join(name for _, name in parents), line


def values_table() -> str:
    """A row for every documented key: name, default, description."""
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    rows = [(path, _default(values, path), comment) for path, comment in comments(text).items()]
    return _table(("Key", "Default", "What it does"), rows)


def group_table() -> str:
    """A row for every field of a worker group."""
    items = json.loads((CHART / "values.schema.json").read_text())["properties"]["workerGroups"]["items"]
    required = set(items["required"])
    rows = [
        (name, "required" if name in required else "optional", field["description"])
        for name, field in items["properties"].items()
    ]
    return _table(("Field", "", "What it does"), rows)


def _default(values: Any, path: str) -> str:
    for key in path.split("."):
        values = values[key]
    shown = json.dumps(values)
    return f"`{shown}`" if len(shown) <= LONGEST_DEFAULT else "see values.yaml"


def _table(head: tuple[str, str, str], rows: list[tuple[str, str, str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---|---|---|"]
    lines += [f"| `{name}` | {second} | {text.replace('|', chr(92) + '|')} |" for name, second, text in rows]
    return "\n".join(lines)


def readme(text: str) -> str:
    """The README ``text`` with its tables made anew."""
    for name, table in (("values", values_table()), ("groups", group_table())):
        start, end = f"<!-- {name}: made by `make chart-docs` -->", f"<!-- end of {name} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        assert found and closed, f"README.md has no {start} ... {end}"
        text = f"{before}{start}\n{table}\n{end}{after}"
    return text


if __name__ == "__main__":
    page = CHART / "README.md"
    page.write_text(readme(page.read_text()))
