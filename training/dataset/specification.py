"""dataset.json and what the command line says over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serving.errors import InvalidRequest
from serving.store.dataset_files import DATASET_FILE, DatasetSpec, PreparationSettings, read_dataset, write_dataset


def specify(directory: Path, fields: Mapping[str, Any], settings: Mapping[str, Any]) -> DatasetSpec:
    """dataset.json with the options over it; written where that changes it. Raises InvalidRequest."""
    before = read_dataset(directory) if (directory / DATASET_FILE).exists() else None
    given = {key: value for key, value in fields.items() if value is not None}
    if before is None and not str(given.get("consent", "")).strip():
        raise InvalidRequest(
            "consent is missing: say who agreed that this voice is trained, to what and when, with --consent or in "
            f"{directory / DATASET_FILE}; without it nothing is prepared",
            "consent",
        )
    place = {"tenant": directory.parent.name, "name": directory.name}
    values: dict[str, Any] = before.model_dump() if before else dict(place)
    for field, part in place.items():
        if values[field] != part and directory.parent.parent.name == "datasets":
            raise InvalidRequest(
                f"{directory / DATASET_FILE}: {field} is {values[field]!r}, but it lies in {part}", field
            )
    merged = {**values.get("settings", {}), **{key: value for key, value in settings.items() if value is not None}}
    try:
        spec = DatasetSpec.model_validate({**values, **given, "settings": PreparationSettings(**merged)})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{field}: {first['msg']}", field) from None
    if spec != before:
        write_dataset(directory, spec)
    return spec
