"""The settings of a run as a table, for the documentation: ``python -m training.xtts --settings``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from serving.store.training_files import TrainingSettings

HEADER = ("setting", "default", "takes", "meaning")
LIMITS = (
    ("minimum", "from {}"),
    ("exclusiveMinimum", "above {}"),
    ("maximum", "to {}"),
    ("exclusiveMaximum", "below {}"),
)


def rows() -> Iterator[tuple[str, str, str, str]]:
    """(name, default, what it takes, what it means) of each setting, in the order of ``run.json``."""
    for name, schema in TrainingSettings.model_json_schema()["properties"].items():
        default = schema.get("default")
        yield name, "" if default is None else f"`{_text(default)}`", _takes(schema), schema["description"]


def markdown() -> str:
    """The table that docs/training.md has."""
    lines = [HEADER, ("---",) * len(HEADER), *((f"`{name}`", *others) for name, *others in rows())]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _takes(schema: dict[str, Any]) -> str:
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    (kind,) = kinds
    if "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind["enum"])
    if kind["type"] == "boolean":
        return "`true`, `false`"
    limits = [words.format(_text(kind[key])) for key, words in LIMITS if key in kind]
    return " ".join([{"integer": "a whole number", "number": "a number"}[kind["type"]], *limits])


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
