"""``dataset.json`` and ``status.json``: what is written is read, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from serving.errors import InvalidRequest, NotFound
from serving.store.dataset_files import (
    DATASET_FILE,
    DATASET_STATUS_FILE,
    DatasetSpec,
    DatasetStatus,
    read_dataset,
    read_dataset_status,
    write_dataset,
    write_dataset_status,
)

FIELDS: dict[str, Any] = {
    "tenant": "acme",
    "name": "anna",
    "language": "en",
    "consent": "Anna agreed by mail on 2026-03-02.",
    "created_at": "2026-03-02T10:00:00Z",
}


def test_a_specification_is_read_as_it_was_written(tmp_path: Path) -> None:
    spec = DatasetSpec(**FIELDS, speaker="Anna", transcribe=True)
    write_dataset(tmp_path, spec)
    assert read_dataset(tmp_path) == spec


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("consent", "   "),
        ("tenant", "../other"),
        ("language", "english, I think"),
        ("speaker", "a|b"),
        ("speaker", "two\nlines"),
        ("settings.val_fraction", 0.9),
        ("settings.max_seconds", 30),
        ("settings.min_seconds", 0),
        ("colour", "red"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(tmp_path: Path, field: str, value: object) -> None:
    head, _, rest = field.partition(".")
    (tmp_path / DATASET_FILE).write_text(json.dumps(FIELDS | {head: {rest: value} if rest else value}))
    with pytest.raises(InvalidRequest) as caught:
        read_dataset(tmp_path)
    assert caught.value.param == field


def test_consent_has_no_default(tmp_path: Path) -> None:
    (tmp_path / DATASET_FILE).write_text(json.dumps({key: FIELDS[key] for key in FIELDS if key != "consent"}))
    with pytest.raises(InvalidRequest, match="consent"):
        read_dataset(tmp_path)


def test_a_missing_specification_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_dataset(tmp_path)


def test_a_status_is_read_as_it_was_written_and_a_torn_one_is_none(tmp_path: Path) -> None:
    status = DatasetStatus(state="ready", done=3, total=3, kept=2, dropped=1, seconds=4.5)
    write_dataset_status(tmp_path, status)
    assert read_dataset_status(tmp_path) == status
    (tmp_path / DATASET_STATUS_FILE).write_text('{"state": "rea')
    assert read_dataset_status(tmp_path) is None
