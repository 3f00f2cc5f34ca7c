"""``/v1/conversion-models``: upload, list, show and delete the voices that are converted into."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request

from serving.api.caller import tenant
from serving.api.context import Context, Ctx
from serving.api.conversion_schemas import (
    ConversionModelCard,
    ConversionModelList,
    DeletedConversionModel,
    form_schema,
)
from serving.api.uploads import FORM, Form, uploaded
from serving.errors import InvalidRequest, NotFound
from serving.store.conversion_facts import clean_model_name
from serving.store.conversion_models import ConversionModel

router = APIRouter(tags=["conversion"])

_FORM = form_schema(
    None,
    {
        "file": "The model's .pth: RVC v1 or v2, for inference",
        "index": "Its faiss .index; without one index_rate has no effect",
    },
    required=["name", "file"],
)
_FORM["properties"]["name"] = {"type": "string", "minLength": 1, "maxLength": 64, "description": "Unique name"}
UPLOAD: dict[str, Any] = {"requestBody": {"required": True, "content": {FORM: {"schema": _FORM}}}}


@router.post("/v1/conversion-models", openapi_extra=UPLOAD)
async def create_conversion_model(request: Request, context: Ctx) -> ConversionModelCard:
    """Keep a voice to convert into. Nothing in its files is run; what is not an RVC voice is refused and not kept."""
    await context.converter.check()
    limits = context.settings.limits
    files = {"file": limits.model_bytes, "index": limits.index_bytes}
    async with uploaded(request, context.conversion_models.volume, files) as form, context.ingesting:
        name = _name(form)
        return _card(await _added(name, form.file("file"), form.files.get("index"), context))


@router.get("/v1/conversion-models")
async def list_conversion_models(context: Ctx) -> ConversionModelList:
    """Every conversion model, oldest first."""
    models = await asyncio.to_thread(context.conversion_models.list, tenant())
    return ConversionModelList(data=[_card(model) for model in models])


@router.get("/v1/conversion-models/{model}")
async def get_conversion_model(model: str, context: Ctx) -> ConversionModelCard:
    """One of the list, by id or name."""
    return _card(await asyncio.to_thread(context.conversion_models.get, tenant(), model))


@router.delete("/v1/conversion-models/{model}")
async def delete_conversion_model(model: str, context: Ctx) -> DeletedConversionModel:
    """Delete a conversion model, by id or name; conversions in progress may finish."""
    return DeletedConversionModel(id=await asyncio.to_thread(context.conversion_models.delete, tenant(), model))


def _name(form: Form) -> str:
    for field in form.fields:
        if field != "name":
            raise InvalidRequest(f"{field[:100]}: this form has no field of that name", field[:100], "unknown_field")
    if "name" not in form.fields:
        raise InvalidRequest("name: Field required", "name", "missing_field")
    return clean_model_name(form.fields["name"])


async def _added(name: str, weights: Path, index: Path | None, context: Context) -> ConversionModel:
    """The stored model: a replica checks and converts the files while a thread holds the place on the volume.

    A client that leaves meanwhile leaves none behind, though the thread runs on for a moment.
    """
    loop = asyncio.get_running_loop()
    ingesting: list[asyncio.Task[Any]] = []

    async def ingest(directory: Path) -> Mapping[str, object]:
        ingesting.append(asyncio.ensure_future(context.converter.ingest(weights, index, directory)))
        return dataclasses.asdict(await ingesting[0])

    def fill(directory: Path) -> Mapping[str, object]:
        return asyncio.run_coroutine_threadsafe(ingest(directory), loop).result()

    adding = asyncio.create_task(
        asyncio.to_thread(context.conversion_models.add, tenant=tenant(), name=name, fill=fill)
    )
    try:
        return await asyncio.shield(adding)
    except asyncio.CancelledError:
        for task in ingesting:
            task.cancel()
        with suppress(Exception, asyncio.CancelledError):
            model = await adding
            with suppress(NotFound):
                await asyncio.to_thread(context.conversion_models.delete, model.tenant, model.id)
        raise


def _card(model: ConversionModel) -> ConversionModelCard:
    return ConversionModelCard(
        id=model.id,
        name=model.name,
        version=model.version,
        sample_rate=model.sample_rate,
        f0=model.f0,
        speakers=model.speakers,
        index_vectors=model.index_vectors,
        bytes=model.bytes,
        notes=list(model.notes),
        created_at=int(model.created_at.timestamp()),
    )
