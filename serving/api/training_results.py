"""What a training run gives: an evaluation, samples, and a model that serves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import FileResponse

from serving.api.launching import TrainingCtx, launching
from serving.api.training import seen_run
from serving.api.training_schemas import Evaluation, ModelBody, Sample, SampleList, ServedRevision
from serving.errors import Conflict, NotFound
from serving.store.promotion import newest_export, promote_export
from serving.store.training_files import EVALUATION_FILE, SAMPLES
from serving.store.training_runs import TrainingRun
from serving.store.volume import is_safe_name

router = APIRouter(tags=["training"])

SAMPLE_TYPES = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".json": "application/json",
    ".txt": "text/plain",
}

AUDIO: dict[str, Any] = {
    "description": "The file",
    "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in SAMPLE_TYPES.values()},
}


@router.get("/v1/training/runs/{run}/evaluation")
async def get_training_evaluation(run: str, training: TrainingCtx) -> Evaluation:
    """How the trained model compares with the one it started from."""

    def evaluation() -> Evaluation:
        found = seen_run(run, training)
        try:
            rows = json.loads((found.directory / EVALUATION_FILE).read_bytes(), parse_constant=lambda _: None)
        except (OSError, ValueError):
            raise NotFound(f"run {found.id} has no evaluation yet: it is {found.state}", "run") from None
        return Evaluation(data=rows if isinstance(rows, list) else [rows])

    return await launching(evaluation)


@router.get("/v1/training/runs/{run}/samples")
async def list_training_samples(run: str, training: TrainingCtx) -> SampleList:
    """Speech that the model made while it was trained, by step and path."""
    return await launching(lambda: SampleList(data=[*_samples(seen_run(run, training))]))


@router.get("/v1/training/runs/{run}/samples/{path:path}", response_class=FileResponse, responses={200: AUDIO})
async def get_training_sample(run: str, path: str, training: TrainingCtx) -> FileResponse:
    """One of the samples."""
    file = await launching(lambda: _sample(seen_run(run, training), path))
    return FileResponse(file, media_type=SAMPLE_TYPES[file.suffix])


@router.post("/v1/training/runs/{run}/promote")
async def promote_training_run(run: str, training: TrainingCtx, body: ModelBody | None = None) -> ServedRevision:
    """Let what the run exported serve; the revision before stays, for rollback."""

    def promote() -> ServedRevision:
        found = seen_run(run, training)
        export = newest_export(training.models.volume, found.tenant, found.id)
        served = promote_export(training.models, export, (body and body.model) or found.model)
        return ServedRevision(model=served.name, revision=served.revision)

    return await launching(promote)


@router.post("/v1/training/runs/{run}/rollback")
async def rollback_training_run(run: str, training: TrainingCtx, body: ModelBody | None = None) -> ServedRevision:
    """Take the run's revision back: the one before it serves again. Refused where another one serves by now."""

    def rollback() -> ServedRevision:
        found = seen_run(run, training)
        name = (body and body.model) or found.model
        export = newest_export(training.models.volume, found.tenant, found.id).name
        current = training.models.current("xtts", name)
        if current is None or current.revision != export:
            serves = f"revision {current.revision!r} of {name!r} serves" if current else f"nothing of {name!r} serves"
            raise Conflict(f"{serves}, not this run's {export!r}; nothing was changed", "model")
        served = training.models.rollback("xtts", name)
        return ServedRevision(model=served.name, revision=served.revision)

    return await launching(rollback)


def _sample(run: TrainingRun, path: str) -> Path:
    """The file of sample ``path``; raises NotFound, also where it leads out of the run's samples."""
    root = (run.directory / SAMPLES).resolve()
    file = root.joinpath(*path.split("/")) if all(is_safe_name(part) for part in path.split("/")) else None
    if file is None or file.suffix not in SAMPLE_TYPES or not file.is_file() or not file.resolve().is_relative_to(root):
        raise NotFound(f"run {run.id} has no sample {path[:80]!r}; list its samples", "path")
    return file


def _by_step(path: Path) -> list[tuple[str, int]]:
    """Orders step-9 before step-10."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D+)(\d*)", path.as_posix())]


def _samples(run: TrainingRun) -> Iterator[Sample]:
    root = run.directory / SAMPLES
    for path in sorted(root.rglob("*"), key=lambda path: _by_step(path.relative_to(root))):
        below = path.relative_to(root)
        if path.suffix in SAMPLE_TYPES and path.is_file() and all(is_safe_name(part) for part in below.parts):
            url = f"/v1/training/runs/{run.id}/samples/{quote(below.as_posix())}"
            yield Sample(path=below.as_posix(), bytes=path.stat().st_size, url=url)
