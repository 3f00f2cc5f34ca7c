"""The documentation's table is the settings."""

from __future__ import annotations

from pathlib import Path

from serving.store.training_files import TrainingSettings
from training.xtts.environment import VARIABLES
from training.xtts.table import markdown, rows

PAGE = Path(__file__).parents[3] / "docs" / "training.md"


def test_the_page_has_the_table_that_the_command_prints() -> None:
    assert markdown() in PAGE.read_text()


def test_every_setting_is_in_it() -> None:
    assert [name for name, *_ in rows()] == list(TrainingSettings.model_fields)


def test_every_variable_is_on_the_page() -> None:
    text = PAGE.read_text()
    assert all(f"`{variable}`" in text for variable in VARIABLES)
