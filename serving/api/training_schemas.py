"""Bodies of datasets and training runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from serving.api.pages import Page
from serving.store.training_files import TrainingSettings

State = Literal["queued", "suspended", "running", "succeeded", "failed", "cancelled"]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]

STATE = "What became of it: the launcher's view and the status file's, as one"
REASON = "Why it waits or failed, in words; empty where there is nothing to say"


class DatasetProgress(BaseModel):
    """``done`` of ``total`` recordings; ``kept`` clips of ``seconds`` in all."""

    done: int
    total: int
    kept: int
    dropped: int
    seconds: float
    updated_at: int


class DatasetCard(BaseModel):
    """One dataset; ``state`` is that of its preparation, ``succeeded`` means ready. Times are Unix seconds."""

    id: str
    object: Literal["dataset"] = "dataset"
    name: str
    language: str
    speaker: str | None
    consent: str
    transcribe: bool
    files: int
    bytes: int
    state: State = Field(description=STATE)
    reason: str = Field(description=REASON)
    attempt: int
    progress: DatasetProgress | None
    totals: dict[str, Any] | None = Field(description="What the report counts; null until there is one")
    warnings: list[Any] = Field(description="What to know before training on it, from the report")
    created_at: int


class DatasetList(Page[DatasetCard]):
    pass


class DeletedDataset(BaseModel):
    id: str
    object: Literal["dataset.deleted"] = "dataset.deleted"
    deleted: bool = True


class TrainingBody(BaseModel):
    """Body of ``POST /v1/training/runs``."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"dataset": "Ada", "settings": {"method": "lora", "epochs": 5}}]},
    )

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        None, description="For people; default: the id"
    )
    dataset: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        description="Id or name of a dataset that is ready"
    )
    model: ModelName | None = Field(
        None, description="The XTTS model to start from; default: the one of KUBEVOICE_XTTS__MODEL"
    )
    revision: ModelName | None = Field(None, description="A revision of it; default: the current one")
    settings: TrainingSettings = Field(TrainingSettings(), description="How to train")


class TrainingProgress(BaseModel):
    """What the trainer said last; ``stage`` is preparing, training, evaluating, exporting or how it ended."""

    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    train_loss: float | None
    val_loss: float | None
    best_val_loss: float | None
    learning_rate: float | None
    clips_per_s: float | None
    eta_s: float | None
    device: str | None
    error: str | None
    export: str | None
    started_at: int
    updated_at: int


class TrainingRunCard(BaseModel):
    """One run; ``job`` is what the launcher calls its attempt. Times are Unix seconds."""

    id: str
    object: Literal["training.run"] = "training.run"
    name: str
    dataset: str
    model: str
    revision: str | None
    settings: dict[str, Any]
    state: State = Field(description=STATE)
    reason: str = Field(description=REASON)
    attempt: int
    job: str
    progress: TrainingProgress | None
    created_at: int


class TrainingRunList(Page[TrainingRunCard]):
    pass


class DeletedTrainingRun(BaseModel):
    id: str
    object: Literal["training.run.deleted"] = "training.run.deleted"
    deleted: bool = True


class Evaluation(BaseModel):
    """The base model's row is the first."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]


class Sample(BaseModel):
    path: str
    bytes: int
    url: str


class SampleList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Sample]


class ModelBody(BaseModel):
    """Body of promote and rollback; it may be left out."""

    model_config = ConfigDict(extra="forbid")

    model: ModelName | None = Field(None, description="The XTTS model that serves it; default: the run's own")


class ServedRevision(BaseModel):
    """The revision of ``model`` that serves now."""

    object: Literal["model.revision"] = "model.revision"
    model: str
    revision: str
