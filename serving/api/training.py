"""``/v1/training/runs``: start, list, show, cancel, resume and delete training runs."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Header, Query

from serving.api.caller import tenant
from serving.api.context import Ctx
from serving.api.launching import Training, TrainingCtx, forget, launching
from serving.api.training_schemas import (
    DeletedTrainingRun,
    TrainingBody,
    TrainingProgress,
    TrainingRunCard,
    TrainingRunList,
)
from serving.errors import Conflict, NotFound
from serving.store.dataset_files import read_dataset
from serving.store.model_languages import check_language
from serving.store.profile import clean_name
from serving.store.training_files import read_status
from serving.store.training_runs import TrainingRun

router = APIRouter(tags=["training"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A request that is repeated with the same key and body is answered with the run of the first",
    ),
]


@router.post("/v1/training/runs")
async def create_training_run(
    body: TrainingBody, context: Ctx, training: TrainingCtx, key: IdempotencyKey = None
) -> TrainingRunCard:
    """Train a model on a dataset. Send an `Idempotency-Key`, so that a request may be repeated without a second run."""
    model = body.model or context.settings.xtts.model

    def create() -> TrainingRunCard:
        name = None if body.name is None else clean_name(body.name)
        run = training.runs.add(
            tenant=tenant(),
            name=name,
            dataset=lambda: _dataset(body, model, training),
            model=model,
            revision=body.revision,
            check=lambda: _check_model(model, body.revision, training),
            settings=body.settings,
            key=key,
            body=body.model_dump_json().encode(),
        )
        return run_card(training.trainings.start(run))

    return await launching(create)


@router.get("/v1/training/runs")
async def list_training_runs(
    training: TrainingCtx,
    limit: Annotated[int, Query(ge=1, le=100, description="Most runs in the answer")] = 20,
    after: Annotated[str | None, Query(max_length=64, description="Id: those behind it, the next page")] = None,
) -> TrainingRunList:
    """Runs, newest first."""

    def listed() -> TrainingRunList:
        found = training.runs.list(tenant(), limit + 1, after)
        told = training.trainings.all_seen(found[:limit])
        return TrainingRunList(data=[run_card(each) for each in told], has_more=len(found) > limit)

    return await launching(listed)


@router.get("/v1/training/runs/{run}")
async def get_training_run(run: str, training: TrainingCtx) -> TrainingRunCard:
    """One run: the launcher's view and the trainer's own, as one."""
    return await launching(lambda: run_card(seen_run(run, training)))


@router.post("/v1/training/runs/{run}/cancel")
async def cancel_training_run(run: str, training: TrainingCtx) -> TrainingRunCard:
    """Stop a run. It saves first, so that it can be resumed; until then it is running, with a reason."""
    return await launching(lambda: run_card(training.trainings.cancel(training.runs.get(tenant(), run))))


@router.post("/v1/training/runs/{run}/resume")
async def resume_training_run(run: str, training: TrainingCtx) -> TrainingRunCard:
    """Go on with a run that failed or was cancelled, from its last checkpoint."""

    def resume() -> TrainingRunCard:
        found = seen_run(run, training)
        if found.active or found.state == "succeeded":
            raise Conflict(
                f"run {found.id} is {found.state}; only one that failed or was cancelled can be resumed", "run"
            )
        if training.launcher.ending(found.job):
            raise Conflict(f"run {found.id} is still saving; resume it when it has ended", "run")
        training.runs.resume(found)
        return run_card(training.trainings.start(training.runs.get(tenant(), run), again=True))

    return await launching(resume)


@router.delete("/v1/training/runs/{run}")
async def delete_training_run(run: str, training: TrainingCtx) -> DeletedTrainingRun:
    """Delete a run that has ended, with its checkpoints and samples; what was promoted stays."""

    def delete() -> DeletedTrainingRun:
        found = seen_run(run, training)
        training.runs.delete(found)
        forget(found, training)
        return DeletedTrainingRun(id=found.id)

    return await launching(delete)


def seen_run(key: str, training: Training) -> TrainingRun:
    """Run ``key`` as it is now; raises NotFound."""
    return training.trainings.seen(training.runs.get(tenant(), key))


def _dataset(body: TrainingBody, model: str, training: Training) -> str:
    try:
        found = training.preparations.seen(training.datasets.get(tenant(), body.dataset))
    except NotFound as error:
        raise NotFound(error.message, "dataset", "dataset_not_found") from None
    base = training.models.volume.models("xtts", model) / body.revision if body.revision else None
    if base is None and (current := training.models.current("xtts", model)) is not None:
        base = current.path
    if base is not None:
        check_language(read_dataset(found.directory).language, base, "dataset")
    return found.id


def _check_model(name: str, revision: str | None, training: Training) -> None:
    """Raise NotFound unless there are weights to start from."""
    if revision is not None:
        training.models.get("xtts", name, revision)
    elif training.models.current("xtts", name) is None:
        raise NotFound(
            f"there is no XTTS model {name!r} on the volume to start from; run: kubevoice models pull",
            "model",
            "model_not_found",
        )


def run_card(run: TrainingRun) -> TrainingRunCard:
    """What is told of ``run``."""
    status = read_status(run.directory)
    progress = None
    if status is not None:
        facts = status.model_dump(exclude={"state", "started_at", "updated_at"})
        finite = {key: None if isinstance(one, float) and not math.isfinite(one) else one for key, one in facts.items()}
        times = {"started_at": int(status.started_at.timestamp()), "updated_at": int(status.updated_at.timestamp())}
        progress = TrainingProgress.model_validate({"stage": status.state, **finite, **times})
    return TrainingRunCard(
        id=run.id,
        name=run.name,
        dataset=run.dataset_id,
        model=run.model,
        revision=run.revision,
        settings=dict(run.settings),
        state=run.state,
        reason=run.reason,
        attempt=run.attempt,
        job=run.job,
        progress=progress,
        created_at=int(run.created_at.timestamp()),
    )
