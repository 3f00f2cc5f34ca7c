"""Renders the chart with Helm itself and hands out the objects."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

CHART = Path(__file__).parents[2] / "charts" / "kubevoice"
RELEASE = "voices"
NAMESPACE = "speech"

Object = dict[str, Any]

MINIMAL: dict[str, Any] = {"postgresql": {"existingSecret": {"name": "records"}}}
"""The least that the chart needs beside its defaults: a database."""

PROFILES = ("dev", "gpu", "ha")

ASKED_FOR: dict[str, dict[str, Any]] = {
    "dev": {},
    "gpu": {"models": {"xtts": {"download": {"acceptLicence": True}}}},
    "ha": {"models": {"xtts": {"download": {"acceptLicence": True}}}},
}
"""What the profiles leave to the user, beside a database."""


@functools.cache
def chart() -> Chart:
    return Chart.load(CHART)


def profile(name: str) -> dict[str, Any]:
    """The values of ``values-<name>.yaml``."""
    values: dict[str, Any] = yaml.safe_load((CHART / f"values-{name}.yaml").read_text())
    return values


def installable(name: str) -> dict[str, Any]:
    """The values of a profile with what its head asks the user for."""
    return with_database(merged(profile(name), ASKED_FOR[name]))


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """``layers`` on top of each other as Helm puts ``--values`` files: mappings merge, everything else is replaced."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            under = result.get(key)
            both = isinstance(value, Mapping) and isinstance(under, Mapping)
            result[key] = merged(under, value) if both else value  # type: ignore[arg-type]
    return result


def with_database(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """``values`` over the minimal ones, which are left out where the values choose another kind of database."""
    chosen = (values or {}).get("postgresql", {})
    own = chosen.get("url") or chosen.get("bundled", {}).get("enabled")
    return merged({} if own else MINIMAL, values or {})


def render(values: Mapping[str, Any] | None = None, *, minimal: bool = True, upgrade: bool = False) -> list[Object]:
    """Every object of the release with ``values`` over the minimal ones, NOTES left out.

    Raises helm_python's HelmRenderError or HelmValuesError as ``helm template`` would fail.
    """
    return [
        document
        for documents in render_files(values, minimal=minimal, upgrade=upgrade).values()
        for document in documents
    ]


def render_files(
    values: Mapping[str, Any] | None = None, *, minimal: bool = True, upgrade: bool = False
) -> dict[str, list[Object]]:
    """The objects by the template that made them (path below templates/)."""
    given = with_database(values) if minimal else merged(values or {})
    return {
        path: [found for found in yaml.load_all(text, yaml.CSafeLoader) if found]
        for path, text in render_texts(given, upgrade=upgrade).items()
    }


def render_texts(values: Mapping[str, Any], *, of: Chart | None = None, upgrade: bool = False) -> dict[str, str]:
    """What Helm renders by template, for exactly ``values``; ``of`` is another chart than the one of the checkout."""
    texts = (of or chart()).render(
        dict(values), name=RELEASE, namespace=NAMESPACE, is_upgrade=upgrade, is_install=not upgrade
    )
    return {path.split("/templates/", 1)[1]: text for path, text in texts.items() if path.endswith(".yaml")}


def notes(values: Mapping[str, Any] | None = None) -> str:
    """What ``helm install`` prints at its end."""
    texts = chart().render(with_database(values), name=RELEASE, namespace=NAMESPACE, is_install=True)
    return next(text for path, text in texts.items() if path.endswith("NOTES.txt"))


def one(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """The only object of ``kind`` (and ``name``)."""
    found = [item for item in objects if item["kind"] == kind and name in (None, item["metadata"]["name"])]
    assert len(found) == 1, (
        f"{len(found)} objects of kind {kind} {name or ''}: {[i['metadata']['name'] for i in found]}"
    )
    return found[0]


def made_by(template: str, values: Mapping[str, Any] | None = None, *, upgrade: bool = False) -> list[Object]:
    """The objects that ``template`` (a path below templates/) makes."""
    return render_files(values, upgrade=upgrade).get(template, [])
