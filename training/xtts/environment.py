"""Settings of a run that the environment overrides, at the start and again on every resume."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from serving.errors import ConfigurationError
from serving.store.training_files import TrainingSettings

VARIABLES = {
    "MAX_TRAIN_SAMPLES": "max_train_samples",
    "NUM_EPOCHS": "epochs",
    "LOG_EVERY_N_STEPS": "log_every_n_steps",
}
"""Variable by setting; an empty variable is the same as none, but for MAX_TRAIN_SAMPLES, which then means all clips."""

EMPTY_MEANS_ALL = "MAX_TRAIN_SAMPLES"


def override(settings: TrainingSettings, environment: Mapping[str, str]) -> TrainingSettings:
    """``settings`` with what ``environment`` says; raises ConfigurationError that names the variable and its value."""
    for variable, field in VARIABLES.items():
        text = environment.get(variable)
        if text is None or (not text.strip() and variable != EMPTY_MEANS_ALL):
            continue
        value = text.strip() or None
        try:
            settings = TrainingSettings.model_validate({**settings.model_dump(), field: value})
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise ConfigurationError(
                f"{variable}={text!r} cannot be used for {field}: {problem}; correct the variable or unset it", variable
            ) from None
    return settings
