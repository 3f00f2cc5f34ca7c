"""``dataset.json`` and ``status.json`` of a dataset: what the API writes and the preparation reads, and the other way.

They lie in ``datasets/<tenant>/<name>/`` on the volume, see ``Volume.dataset``, beside ``raw/``, which holds what the
user brought. ``python -m training.dataset`` adds ``clips/``, ``metadata.csv`` and ``report.json``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from serving.errors import NotFound
from serving.files import write_atomic
from serving.store.training_files import Name, bad_field

DATASET_FILE = "dataset.json"
DATASET_STATUS_FILE = "status.json"
REPORT_FILE = "report.json"
RAW = "raw"

LONGEST_CLIP_S = 11.6
"""XTTS trains on at most 255,995 samples of 22,050 Hz (coqui's ``max_wav_length``)."""

DatasetState = Literal["preparing", "ready", "failed", "stopped"]
"""What the preparation itself says; ``stopped``: told to, and what was there before is still there."""


def _one_line(value: str) -> str:
    if not value.isprintable() or "|" in value:
        raise PydanticCustomError("one_line", "takes neither | nor line breaks nor control characters")
    return value


Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(_one_line)]
Statement = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]


class PreparationSettings(BaseModel):
    """How recordings become clips. Ranges are checked here, for the API and the command line alike."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    val_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.08
    """Share of the clips that training only measures itself on; at least one clip and at most 256."""
    loudness: Annotated[float, Field(ge=-40, le=-10)] = -23.0
    """Loudness of every clip, LUFS; a clip whose peaks would pass -1 dBFS stays quieter."""
    min_seconds: Annotated[float, Field(ge=0.3, le=5)] = 1.0
    """Shorter clips are dropped."""
    max_seconds: Annotated[float, Field(ge=2, le=LONGEST_CLIP_S)] = LONGEST_CLIP_S
    """Longer clips are dropped; recordings with times are cut into shorter ones."""
    max_tokens: Annotated[int, Field(ge=10, le=400)] = 200
    """Clips whose text has more tokens are dropped; coqui's trainer takes 200."""
    min_snr_db: Annotated[float, Field(ge=0, le=60)] = 15.0
    """Clips whose estimated ratio of speech to noise is lower get a warning."""


class DatasetSpec(BaseModel):
    """``dataset.json``. ``model`` is the XTTS model whose tokenizer and speaker encoder judge the clips.

    ``consent`` is the voice owner's agreement in words: who agreed, to what, when. ``speaker`` and ``language`` are
    those of every clip that brings none of its own; an empty ``speaker`` is the dataset's name. With ``transcribe``,
    recordings without a text are transcribed by the model in ``models/asr/<asr_model>/``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: Name
    name: Name
    language: Annotated[str, StringConstraints(to_lower=True, pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z]{2,4})?$")]
    speaker: Line | None = None
    consent: Statement
    transcribe: bool = False
    asr_model: Name = "whisper"
    model: Name = "xtts_v2"
    revision: Name | None = None
    settings: PreparationSettings = PreparationSettings()
    created_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))


class DatasetStatus(BaseModel):
    """``status.json``, rewritten on the way and at the end.

    ``done`` and ``total`` count recordings; ``kept``, ``dropped`` and ``seconds`` (of the kept ones) are of the clips,
    and final once ``ready``. ``error`` is one sentence.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: DatasetState
    done: int = 0
    total: int = 0
    kept: int = 0
    dropped: int = 0
    seconds: float = 0.0
    error: str | None = None
    updated_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))


def read_dataset(directory: Path) -> DatasetSpec:
    """The specification of the dataset in ``directory``; raises NotFound, and InvalidRequest naming the bad field."""
    path = directory / DATASET_FILE
    try:
        return DatasetSpec.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(
            f"there is no {path}; prepare the dataset first: python -m training.dataset {directory}", param="dataset"
        ) from None
    except ValidationError as error:
        raise bad_field(path, error) from None


def write_dataset(directory: Path, dataset: DatasetSpec) -> None:
    """Raises StorageError."""
    write_atomic(directory / DATASET_FILE, dataset.model_dump_json(indent=2).encode())


def read_dataset_status(directory: Path) -> DatasetStatus | None:
    """What the preparation said last; None where it has said nothing that can be read."""
    try:
        return DatasetStatus.model_validate_json((directory / DATASET_STATUS_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def write_dataset_status(directory: Path, status: DatasetStatus) -> None:
    """Raises StorageError."""
    write_atomic(directory / DATASET_STATUS_FILE, status.model_dump_json(indent=2).encode())
