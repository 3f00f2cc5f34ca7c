"""Every value is documented once, and README and schema say the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from charts.values_table import Value, described, documented, groups_table, readme, values_table
from tests.charts.rendering import CHART, one, render

VALUES = (CHART / "values.yaml").read_text()
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
README = (CHART / "README.md").read_text()

INSTALL = CHART.parent.parent / "docs" / "install.md"

NOT_IN_VALUES = {
    "global": "Helm gives it to subcharts",
    "settings.limits": "their defaults are the application's",
    "settings.voices": "their defaults are the application's",
    "settings.xtts": "the defaults of most are the application's",
    "settings.rvc": "the defaults of most are the application's",
}
"""Keys that the schema knows below, or as, keys of values.yaml that have no such default."""

EXAMPLE = """
# About the section, and no documentation
speech:
  # -- Fewest replicas;
  # none is allowed
  minReplicas: 1
  maxReplicas: 2
  # -- Where to
  node: {zone: a}
# -- Groups | of pods
groups:
  - name: api
    # -- not a value
    runs: [api]
"""


def schema_paths(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted paths of all leaves that ``node`` describes by name."""
    for key, found in node["properties"].items():
        path = f"{prefix}{key}"
        if "properties" in found:
            yield from schema_paths(found, f"{path}.")
        else:
            yield path


def test_comments_are_read_with_their_keys() -> None:
    assert list(documented(EXAMPLE)) == [
        Value(("speech", "minReplicas"), 1, "Fewest replicas; none is allowed"),
        Value(("speech", "maxReplicas"), 2, ""),
        Value(("speech", "node"), {"zone": "a"}, "Where to"),
        Value(("groups",), [{"name": "api", "runs": ["api"]}], "Groups | of pods"),
    ]


def test_the_table_has_a_row_for_each_value() -> None:
    assert values_table(EXAMPLE).splitlines()[2:] == [
        "| `speech.minReplicas` | `1` | Fewest replicas; none is allowed |",
        "| `speech.maxReplicas` | `2` |  |",
        '| `speech.node` | `{"zone": "a"}` | Where to |',
        '| `groups` | `[{"name": "api", "runs": ["api"]}]` | Groups \\| of pods |',
    ]


def test_every_value_has_a_comment() -> None:
    assert [".".join(value.path) for value in documented(VALUES) if not value.comment] == []


def test_no_two_values_have_the_same_place() -> None:
    paths = [value.path for value in documented(VALUES)]
    assert len(paths) == len(set(paths))


def test_every_key_of_the_schema_is_in_the_values() -> None:
    known = {".".join(value.path) for value in documented(VALUES)}
    covered = known | set(NOT_IN_VALUES)
    missing = [
        path for path in schema_paths(SCHEMA) if not any(path == key or path.startswith(f"{key}.") for key in covered)
    ]
    assert missing == []


def test_every_value_is_in_the_schema_with_its_comment() -> None:
    assert described(SCHEMA, VALUES) == SCHEMA, "run `make chart-docs`"


def test_the_readme_has_the_tables_as_they_are_made() -> None:
    assert readme(README, VALUES, SCHEMA) == README, "run `make chart-docs`"
    assert "| `speech.minReplicas` | `1` |" in README
    assert groups_table(SCHEMA) in README


def test_the_schema_is_written_as_the_tool_writes_it() -> None:
    assert (CHART / "values.schema.json").read_text() == json.dumps(SCHEMA, indent=2) + "\n", "run `make chart-docs`"


def test_what_a_worker_group_may_have_is_in_the_comment_of_the_values() -> None:
    groups = next(value for value in documented(VALUES) if value.path == ("workerGroups",))
    text = VALUES[: VALUES.index("# Options of every pod;")]
    for field in SCHEMA["definitions"]["workerGroup"]["properties"]:
        assert re.search(rf"\b{field}\b", text), field
    assert "Optional for a group" in groups.comment


def test_the_readme_links_to_files_that_exist() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (CHART / link).exists(), link


def test_values_that_the_installation_shows_are_taken_as_they_stand() -> None:
    shown = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", INSTALL.read_text(), re.DOTALL)]
    identity = next(values for values in shown if "oidc" in values.get("settings", {}))
    objects = render(identity)
    assert identity["settings"]["oidc"]["issuer"] in yaml.safe_dump(one(objects, "RayService"))
    assert any(
        item["kind"] == "NetworkPolicy" and item["spec"].get("egress") == identity["networkPolicy"]["extraEgress"]
        for item in objects
    )
