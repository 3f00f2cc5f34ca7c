"""``/v1/datasets``: recordings of a voice, made into clips to train on."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError

from serving.api.caller import tenant
from serving.api.context import Context, Ctx
from serving.api.dataset_uploads import FILES, dataset_form
from serving.api.launching import Training, TrainingCtx, forget, launching
from serving.api.training_schemas import DatasetCard, DatasetList, DatasetProgress, DeletedDataset
from serving.api.uploads import FORM
from serving.errors import InvalidRequest, ModelFilesError, NotFound
from serving.store.dataset_files import REPORT_FILE, DatasetSpec, Line, Statement, read_dataset, read_dataset_status
from serving.store.datasets import Dataset, clean_dataset_name
from serving.store.model_languages import check_language

logger = logging.getLogger(__name__)

router = APIRouter(tags=["training"])


class DatasetFields(BaseModel):
    """The fields of the form beside ``files``."""

    model_config = ConfigDict(extra="forbid")

    name: str
    language: str
    consent: Statement
    speaker: Line | None = None
    transcribe: bool = False


_FILES: dict[str, Any] = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "minItems": 1,
    "description": "Recordings, transcripts (metadata.csv, .jsonl, .srt, .vtt, .txt), or zip files of them",
}
_FIELDS: dict[str, Any] = {
    "name": {"type": "string", "minLength": 1, "maxLength": 64, "description": "Unique name"},
    "language": {"type": "string", "pattern": "^[A-Za-z]{2,3}([-_][A-Za-z]{2,4})?$", "description": "What is spoken"},
    "consent": {
        "type": "string",
        "minLength": 1,
        "maxLength": 4000,
        "description": "The voice owner's agreement in words: who agreed, to what, when",
    },
    "speaker": {"type": "string", "minLength": 1, "maxLength": 100, "description": "Default: the dataset's name"},
    "transcribe": {
        "type": "boolean",
        "description": "Transcribe recordings without a text, by the model in models/asr",
    },
    FILES: _FILES,
}


def _upload(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    return {"requestBody": {"required": True, "content": {FORM: {"schema": schema}}}}


@router.post("/v1/datasets", openapi_extra=_upload(_FIELDS, ["name", "language", "consent", FILES]))
async def create_dataset(request: Request, context: Ctx, training: TrainingCtx) -> DatasetCard:
    """Keep recordings with their transcripts and begin to prepare them. Only with the voice owner's consent."""
    names = DatasetFields.model_fields
    limit = context.settings.limits.dataset_bytes
    async with dataset_form(request, training.datasets.volume, limit, names) as form:
        fields = _fields(form.fields)
        name = clean_dataset_name(fields.name)
        spec = _spec(fields, name, context)
        await launching(_check_language, spec, training)
        async with context.ingesting:
            dataset = await launching(training.datasets.add, name, spec, form.fill)
    return await launching(_started, training, dataset)


@router.post("/v1/datasets/{dataset}/files", openapi_extra=_upload({FILES: _FILES}, [FILES]))
async def add_dataset_files(dataset: str, request: Request, context: Ctx, training: TrainingCtx) -> DatasetCard:
    """Add recordings and prepare again. Refused while a run uses the dataset or it is being prepared."""
    found = await _seen(dataset, training)
    limit = context.settings.limits.dataset_bytes
    async with dataset_form(request, training.datasets.volume, limit, ()) as form, context.ingesting:
        again = await launching(training.datasets.extend, found, form.fill)
    return await launching(_started, training, again)


@router.get("/v1/datasets")
async def list_datasets(
    training: TrainingCtx,
    limit: Annotated[int, Query(ge=1, le=100, description="Most datasets in the answer")] = 20,
    after: Annotated[str | None, Query(max_length=64, description="Id: those behind it, the next page")] = None,
) -> DatasetList:
    """Datasets, newest first."""
    found = await launching(training.datasets.list, tenant(), limit + 1, after)
    told = await launching(training.preparations.all_seen, found[:limit])
    return DatasetList(data=await launching(_cards, told), has_more=len(found) > limit)


@router.get("/v1/datasets/{dataset}")
async def get_dataset(dataset: str, training: TrainingCtx) -> DatasetCard:
    """One dataset, by id or name, with what its report counts."""
    return await launching(_card, await _seen(dataset, training))


@router.get("/v1/datasets/{dataset}/report")
async def get_dataset_report(dataset: str, training: TrainingCtx) -> dict[str, Any]:
    """What became of every recording and clip, and what to know before training on them."""
    found = await _seen(dataset, training)
    report = await launching(_report, found)
    if report is None:
        why = f" ({found.reason})" if found.reason else ""
        raise NotFound(f"dataset {found.id} has no report: its preparation is {found.state}{why}", "dataset")
    return report


@router.delete("/v1/datasets/{dataset}")
async def delete_dataset(dataset: str, training: TrainingCtx) -> DeletedDataset:
    """Delete a dataset. Refused while a training run uses it; a preparation at work is stopped."""
    found = await _seen(dataset, training)
    await launching(_delete, training, found)
    return DeletedDataset(id=found.id)


async def _seen(key: str, training: Training) -> Dataset:
    def seen() -> Dataset:
        return training.preparations.seen(training.datasets.get(tenant(), key))

    return await launching(seen)


def _started(training: Training, dataset: Dataset) -> DatasetCard:
    return _card(training.preparations.start(dataset, again=dataset.attempt > 1))


def _delete(training: Training, dataset: Dataset) -> None:
    training.datasets.delete(dataset)
    forget(dataset, training)  # what cannot be stopped ends by itself: its folder is gone


def _fields(values: dict[str, str]) -> DatasetFields:
    try:
        return DatasetFields.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


def _spec(fields: DatasetFields, name: str, context: Context) -> DatasetSpec:
    try:
        return DatasetSpec(
            tenant=tenant(),
            name="new",
            language=fields.language,
            speaker=fields.speaker or name,
            consent=fields.consent,
            transcribe=fields.transcribe,
            model=context.settings.xtts.model,
        )
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


def _check_language(spec: DatasetSpec, training: Training) -> None:
    """Refuse what the preparation would refuse too, long after; where there is no model yet it has the word."""
    try:
        model = training.models.current("xtts", spec.model)
    except ModelFilesError:
        return
    if model is not None:
        check_language(spec.language, model.path, "language")


def _report(dataset: Dataset) -> dict[str, Any] | None:
    try:
        report = json.loads((dataset.directory / REPORT_FILE).read_bytes(), parse_constant=lambda _: None)
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None


def _cards(datasets: Sequence[Dataset]) -> list[DatasetCard]:
    """The cards of those whose folder can be read: one that was lost must not hide the others."""
    cards = []
    for dataset in datasets:
        try:
            cards.append(_card(dataset))
        except (NotFound, InvalidRequest) as error:
            logger.warning("dataset %s is left out: %s", dataset.id, error)
    return cards


def _card(dataset: Dataset) -> DatasetCard:
    spec = read_dataset(dataset.directory)
    status = read_dataset_status(dataset.directory)
    report = _report(dataset) or {}
    progress = status and DatasetProgress(
        done=status.done,
        total=status.total,
        kept=status.kept,
        dropped=status.dropped,
        seconds=status.seconds if math.isfinite(status.seconds) else 0.0,
        updated_at=int(status.updated_at.timestamp()),
    )
    return DatasetCard(
        id=dataset.id,
        name=dataset.name,
        language=spec.language,
        speaker=spec.speaker,
        consent=spec.consent,
        transcribe=spec.transcribe,
        files=dataset.files,
        bytes=dataset.bytes,
        state=dataset.state,
        reason=dataset.reason,
        attempt=dataset.attempt,
        progress=progress,
        totals=report.get("totals"),
        warnings=report.get("warnings", []),
        created_at=int(dataset.created_at.timestamp()),
    )
