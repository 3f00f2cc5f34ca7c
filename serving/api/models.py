"""``GET /v1/models``: what this server speaks with, and the names that stand for it."""

from __future__ import annotations

import time

from fastapi import APIRouter

from serving.api.context import Ctx
from serving.api.schemas import ModelCard, ModelList, PendingRevision
from serving.api.speech import check_model
from serving.engines.base import EngineInfo
from serving.selection import MODEL_ALIASES

router = APIRouter(tags=["models"])

STARTED = int(time.time())


@router.get("/v1/models")
async def list_models(context: Ctx) -> ModelList:
    """The loaded model first, then its aliases; ``engine`` says what really speaks."""
    info = await context.info()
    return ModelList(data=[_card(name, info) for name in (info.model, *MODEL_ALIASES)])


@router.get("/v1/models/{model}")
async def get_model(model: str, context: Ctx) -> ModelCard:
    """One model or alias."""
    info = await context.info()
    check_model(model, info)
    return _card(model, info)


def _card(name: str, info: EngineInfo) -> ModelCard:
    return ModelCard(
        id=name,
        created=STARTED,
        root=info.model,
        engine=info.name,
        revision=info.revision,
        device=info.device,
        languages=list(info.languages),
        clones_voices=info.clones,
        pending=info.pending and PendingRevision(revision=info.pending.revision, state=info.pending.state),
    )
