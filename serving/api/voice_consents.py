"""``/v1/audio/voice_consents``: recordings in which speakers agree to be cloned, in OpenAI's convention."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, Query, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from serving.api.caller import tenant
from serving.api.context import Ctx
from serving.store.voice_consents import NAME_CHARS, TAG_CHARS, VoiceConsent
from serving.voices import check_recording

router = APIRouter(tags=["voices"])


class ConsentCard(BaseModel):
    """One consent; ``created_at`` in Unix seconds."""

    id: str
    object: Literal["audio.voice_consent"] = "audio.voice_consent"
    name: str
    language: str
    created_at: int


class ConsentList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ConsentCard]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ConsentBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=NAME_CHARS)]


class DeletedConsent(BaseModel):
    id: str
    object: Literal["audio.voice_consent"] = "audio.voice_consent"
    deleted: bool = True


@router.post("/v1/audio/voice_consents")
async def create_voice_consent(
    context: Ctx,
    name: Annotated[str, Form(min_length=1, max_length=NAME_CHARS, description="Whose consent it is")],
    language: Annotated[
        str, Form(min_length=2, max_length=TAG_CHARS, description="BCP 47 tag of what is said, such as en-US")
    ],
    recording: Annotated[UploadFile, File(description="The speaker agreeing, in any common format")],
) -> ConsentCard:
    """Keep a recording in which a speaker agrees; `consent` of a voice takes its id. It is kept as it was sent."""
    data = await recording.read()

    def keep() -> VoiceConsent:
        seconds = check_recording(data, context.settings.limits, "recording")
        return context.consents.add(tenant(), name, language, data, seconds)

    return consent_card(await asyncio.to_thread(keep))


@router.get("/v1/audio/voice_consents")
async def list_voice_consents(
    context: Ctx,
    limit: Annotated[int, Query(ge=1, le=100, description="Most consents in the answer")] = 20,
    after: Annotated[str | None, Query(max_length=64, description="Id: those behind it, the next page")] = None,
) -> ConsentList:
    """Consents, newest first."""
    found = await asyncio.to_thread(context.consents.list, tenant(), limit + 1, after)
    page = [consent_card(each) for each in found[:limit]]
    return ConsentList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(found) > limit,
    )


@router.get("/v1/audio/voice_consents/{consent_id}")
async def get_voice_consent(consent_id: str, context: Ctx) -> ConsentCard:
    """One consent."""
    return consent_card(await asyncio.to_thread(context.consents.get, tenant(), consent_id))


@router.post("/v1/audio/voice_consents/{consent_id}")
async def update_voice_consent(consent_id: str, body: ConsentBody, context: Ctx) -> ConsentCard:
    """Give a consent another name; its recording stays."""
    return consent_card(await asyncio.to_thread(context.consents.rename, tenant(), consent_id, body.name))


@router.delete("/v1/audio/voice_consents/{consent_id}")
async def delete_voice_consent(consent_id: str, context: Ctx) -> DeletedConsent:
    """Delete a consent with its recording; 409 while there is a voice that was made by it."""

    def delete() -> None:
        context.consents.delete(tenant(), consent_id, lambda found: context.voices.with_consent(tenant(), found))

    await asyncio.to_thread(delete)
    return DeletedConsent(id=consent_id)


def consent_card(consent: VoiceConsent) -> ConsentCard:
    return ConsentCard(
        id=consent.id,
        name=consent.name,
        language=consent.language,
        created_at=int(consent.created_at.timestamp()),
    )
