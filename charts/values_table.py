"""Documentation of the chart's values, made from the ``# --`` comments of values.yaml.

``python -m charts.values_table`` writes the tables of README.md and the descriptions of values.schema.json that editors
show.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "kubevoice"
MARKER = "# -- "
LONGEST_DEFAULT = 120
"""Characters; a longer default is looked up in values.yaml."""


@dataclass(frozen=True)
class Value:
    """A key of values.yaml; ``comment`` is empty where there is none."""

    path: tuple[str, ...]
    default: Any
    comment: str


def documented(text: str) -> Iterator[Value]:
    """The values of ``text`` in its order: those with a comment, and leaves without one.

    A key with a ``# --`` comment is documented as a whole; below others every key is looked at.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from _below(root, yaml.safe_load(text), (), text.splitlines())


def _below(node: yaml.MappingNode, values: dict[str, Any], path: tuple[str, ...], lines: list[str]) -> Iterator[Value]:
    for key, value in node.value:
        here, default = (*path, key.value), values[key.value]
        comment = _comment_above(lines, key.start_mark.line)
        if isinstance(value, yaml.MappingNode) and value.value and not comment:
            yield from _below(value, default, here, lines)
        else:
            yield Value(here, default, comment)


def _comment_above(lines: list[str], index: int) -> str:
    block: list[str] = []
    for line in reversed(lines[:index]):
        stripped = line.strip()
        if not stripped.startswith("#"):
            break
        block.insert(0, stripped)
        if stripped.startswith(MARKER):
            return " ".join(part.removeprefix(MARKER).removeprefix("#").strip() for part in block)
    return ""


def values_table(text: str) -> str:
    """A Markdown table of key, default and meaning."""
    rows = [(".".join(value.path), _code(value.default), value.comment) for value in documented(text)]
    return _table(("key", "default", "meaning"), rows)


def groups_table(schema: dict[str, Any]) -> str:
    """A Markdown table of the keys of a worker group, from the schema: a list in values.yaml has no such comments."""
    group = schema["definitions"]["workerGroup"]
    rows = [
        (
            key,
            "required" if key in group["required"] else _code(found["default"]) if "default" in found else "",
            found["description"],
        )
        for key, found in group["properties"].items()
    ]
    return _table(("key", "default", "meaning"), rows)


def described(schema: dict[str, Any], text: str) -> dict[str, Any]:
    """``schema`` with the comments as descriptions."""
    result: dict[str, Any] = json.loads(json.dumps(schema))
    for value in documented(text):
        node = result
        for key in value.path:
            node = node["properties"][key]
        node["description"] = value.comment
    return result


def readme(text: str, values: str, schema: dict[str, Any]) -> str:
    """``text`` with its two tables replaced."""
    tables = {"values": values_table(values), "groups": groups_table(schema)}
    return re.sub(
        r"(<!-- (values|groups) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{tables[found[2]]}{found[3]}",
        text,
        flags=re.DOTALL,
    )


def main() -> None:
    """Write both files."""
    values = (CHART / "values.yaml").read_text()
    path = CHART / "values.schema.json"
    schema = described(json.loads(path.read_text()), values)
    path.write_text(json.dumps(schema, indent=2) + "\n")
    page = CHART / "README.md"
    page.write_text(readme(page.read_text(), values, schema))


def _table(head: tuple[str, ...], rows: list[tuple[str, str, str]]) -> str:
    lines = [head, ("---",) * len(head), *((f"`{key}`", default, _cell(meaning)) for key, default, meaning in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _code(default: Any) -> str:
    text = json.dumps(default, ensure_ascii=False)
    if len(text) > LONGEST_DEFAULT:
        return "see values.yaml"
    return f"`{text}`" if text != '""' else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
