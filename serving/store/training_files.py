"""``run.json`` and ``status.json`` of a training run: what the API writes and the trainer reads, and the other way.

They lie in ``training/<tenant>/<run>/`` on the volume, see ``Volume.training_run``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from serving.errors import InvalidRequest, NotFound
from serving.files import write_atomic
from serving.store.volume import safe_name

RUN_FILE = "run.json"
STATUS_FILE = "status.json"
METRICS_FILE = "metrics.jsonl"
"""One JSON object a logged step, appended."""

EVALUATION_FILE = "evaluation.json"
"""A list of rows, the base model's first."""

CHECKPOINTS, SAMPLES, TENSORBOARD, EXPORT = "checkpoints", "samples", "tensorboard", "export"
"""Folders of a run; ``export/<revision>/`` is a complete XTTS directory with a manifest."""


def _component(value: str, info: ValidationInfo) -> str:
    assert info.field_name
    return safe_name(value, info.field_name)


Name = Annotated[str, AfterValidator(_component)]
RunState = Literal["preparing", "training", "evaluating", "exporting", "succeeded", "failed", "stopped"]
"""What the trainer itself says; ``stopped``: told to, and saved. A Job's own state is the launcher's to tell."""


class TrainingSettings(BaseModel):
    """How to train. Ranges are checked here, for the API, the command line and the trainer alike."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    method: Literal["full", "lora"] = "full"
    """full trains every weight of the decoder, lora small matrices beside them: a tenth of the memory."""
    lora_rank: Annotated[int, Field(ge=1, le=256)] = 16
    """Rank of the matrices of lora; their scale alpha is twice that."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Times that every clip is seen. NUM_EPOCHS overrides it, also on resume."""
    max_train_samples: Annotated[int, Field(ge=1)] | None = None
    """Most clips to train on, the same ones each time; empty means all. MAX_TRAIN_SAMPLES overrides it."""
    log_every_n_steps: Annotated[int, Field(ge=1)] = 10
    """Steps between two log lines. LOG_EVERY_N_STEPS overrides it."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    """Clips of one step of the optimizer, over all GPUs together."""
    micro_batch_size: Annotated[int, Field(ge=1, le=512)] = 4
    """Most clips in one forward pass of one GPU; a batch is accumulated from as many passes as it takes."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """Highest learning rate; empty means 5e-6 for full and 1e-4 for lora."""
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    """Steps until the learning rate is at its highest."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """What the learning rate does after that; cosine ends at a tenth."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """AdamW's, on weights only: not on biases, norms and embeddings."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of the gradient; empty does not clip."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the forward pass; auto is bfloat16 on a GPU that has it, else float32. Weights stay float32."""
    gradient_checkpointing: bool | None = None
    """Compute activations twice instead of keeping them; empty means yes on a GPU, no on the CPU."""
    compile: bool = False
    """torch.compile: minutes at the start, faster steps afterwards."""
    prompt_mask: Literal["upstream", "full", "off"] = "upstream"
    """Which audio tokens of the prompt's own stretch are left out of the loss: as coqui does (few), all, or none."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1
    """Of everything that is drawn."""
    save_every_minutes: Annotated[float, Field(gt=0)] = 10.0
    """Minutes between two checkpoints; one is written at the end of each epoch and on SIGTERM as well."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    """Newest checkpoints that stay, beside the best."""
    early_stop_epochs: Annotated[int, Field(ge=1)] | None = None
    """End when the validation loss has not fallen for that many epochs; empty never does."""
    samples: Annotated[int, Field(ge=0, le=16)] = 3
    """Texts of the dataset that are spoken after each epoch."""


class RunSpec(BaseModel):
    """``run.json``. ``model`` is the XTTS model to start from, ``revision`` one of it (empty: current)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: Name
    name: Name
    dataset: Name
    model: Name = "xtts_v2"
    revision: Name | None = None
    settings: TrainingSettings = TrainingSettings()


class RunStatus(BaseModel):
    """``status.json``, rewritten at every logged step and change of state; losses per token, natural logarithm.

    ``steps`` is how many there will be, ``eta_s`` the seconds to the end as far as one can tell; ``skipped_steps``
    were left out because their loss or gradient was not finite. ``error`` is one sentence. ``export`` is the name of
    the revision below ``export/``. ``device`` is where it runs.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: RunState
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    skipped_steps: int = 0
    train_loss: float | None = None
    val_loss: float | None = None
    best_val_loss: float | None = None
    learning_rate: float | None = None
    clips_per_s: float | None = None
    eta_s: float | None = None
    device: str | None = None
    error: str | None = None
    export: str | None = None
    started_at: AwareDatetime
    updated_at: AwareDatetime


def read_run(directory: Path) -> RunSpec:
    """The specification of the run in ``directory``; raises NotFound, and InvalidRequest that names the bad field."""
    path = directory / RUN_FILE
    try:
        return RunSpec.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"there is no {path}; write it as docs/training.md shows", param="run") from None
    except ValidationError as error:
        raise bad_field(path, error) from None


def bad_field(path: Path, error: ValidationError) -> InvalidRequest:
    """What is wrong with the file at ``path``: the first field that cannot be used, or all of it."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return InvalidRequest(": ".join(filter(None, (str(path), field, first["msg"]))), param=field or None)


def write_run(directory: Path, run: RunSpec) -> None:
    """Raises StorageError."""
    write_atomic(directory / RUN_FILE, run.model_dump_json(indent=2).encode())


def read_status(directory: Path) -> RunStatus | None:
    """What the trainer said last; None where it has said nothing that can be read."""
    try:
        return RunStatus.model_validate_json((directory / STATUS_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def write_status(directory: Path, status: RunStatus) -> None:
    """Raises StorageError."""
    write_atomic(directory / STATUS_FILE, status.model_dump_json(indent=2).encode())
