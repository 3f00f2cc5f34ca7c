"""The three variables of the original system override run.json."""

from __future__ import annotations

import pytest

from serving.errors import ConfigurationError
from serving.store.training_files import TrainingSettings
from training.xtts.environment import override

SETTINGS = TrainingSettings(epochs=4, max_train_samples=100)


def test_without_variables_nothing_changes() -> None:
    assert override(SETTINGS, {"PATH": "/bin"}) == SETTINGS


def test_variables_go_before_the_file() -> None:
    settings = override(SETTINGS, {"NUM_EPOCHS": "7", "LOG_EVERY_N_STEPS": " 3 ", "MAX_TRAIN_SAMPLES": "12"})
    assert (settings.epochs, settings.log_every_n_steps, settings.max_train_samples) == (7, 3, 12)


def test_empty_means_all_clips_and_otherwise_nothing() -> None:
    settings = override(SETTINGS, {"NUM_EPOCHS": "", "LOG_EVERY_N_STEPS": "", "MAX_TRAIN_SAMPLES": ""})
    assert settings == SETTINGS.model_copy(update={"max_train_samples": None})


@pytest.mark.parametrize(
    ("variable", "value", "field"),
    [("NUM_EPOCHS", "0", "epochs"), ("NUM_EPOCHS", "ten", "epochs"), ("MAX_TRAIN_SAMPLES", "-1", "max_train_samples"),
     ("LOG_EVERY_N_STEPS", "1.5", "log_every_n_steps")],
)  # fmt: skip
def test_a_bad_value_is_an_error_that_names_the_variable(variable: str, value: str, field: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable}='{value}' cannot be used for {field}: .*unset it"):
        override(SETTINGS, {variable: value})
