"""``/v1/audio/voices``: list, upload, show and delete voices."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, UploadFile

from serving.api.context import Context, Ctx
from serving.api.schemas import DeletedVoice, VoiceCard, VoiceList
from serving.engines.base import EngineInfo
from serving.errors import Conflict, InvalidRequest, KubevoiceError, NotFound, RequestError
from serving.selection import DEFAULT_TENANT, OPENAI_VOICES, normal_language, reserved_names, voice_of
from serving.settings import VoiceSettings
from serving.store.profile import clean_name
from serving.store.voices import VoiceProfile
from serving.voices import prepare_reference

logger = logging.getLogger(__name__)

router = APIRouter(tags=["voices"])


@router.get("/v1/audio/voices")
async def list_voices(context: Ctx) -> VoiceList:
    """Every name that ``voice`` takes: uploaded voices, the model's presets, aliases."""
    info = await context.info()
    stored = await asyncio.to_thread(context.voices.list, DEFAULT_TENANT)
    return VoiceList(voices=[*map(_card, stored), *_named_voices(info, context.settings.voices)])


@router.post("/v1/audio/voices")
async def create_voice(
    context: Ctx,
    name: Annotated[str, Form(min_length=1, max_length=64, description="Unique name of the voice")],
    audio_sample: Annotated[UploadFile, File(description="Reference audio in any common format")],
    language: Annotated[str | None, Form(min_length=2, max_length=16, description="Language of the voice")] = None,
    description: Annotated[str | None, Form(max_length=500)] = None,
    consent: Annotated[str | None, Form(max_length=500, description="Record of the speaker's consent")] = None,
    type: Annotated[Literal["audio_sample"], Form(description="Only voices from a sample")] = "audio_sample",  # noqa: A002
) -> VoiceCard:
    """Keep a reference voice. Its conditioning is computed at once, so that the first sentence does not wait."""
    info = await context.info()
    name = clean_name(name)
    if name.lower() in reserved_names(info, context.settings.voices):
        raise Conflict(f"the name {name!r} is taken by a built-in voice; choose another", param="name")
    language = None if language is None else normal_language(language, info)
    wav, seconds = await asyncio.to_thread(
        prepare_reference, await audio_sample.read(), context.settings.limits, "audio_sample"
    )
    adding = asyncio.to_thread(
        context.voices.add,
        tenant=DEFAULT_TENANT,
        name=name,
        references=[wav],
        reference_seconds=seconds,
        language=language,
        description=description,
        consent=consent,
    )
    profile = await _added(asyncio.create_task(adding), context)
    await _prepare(profile, context)
    return _card(profile)


@router.get("/v1/audio/voices/{voice_id}")
async def get_voice(voice_id: str, context: Ctx) -> VoiceCard:
    """One voice of the list, by id or name."""
    named = _named_voices(await context.info(), context.settings.voices)
    if built_in := next((card for card in named if card.id == voice_id), None):
        return built_in
    return _card(await _stored(voice_id, context))


@router.delete("/v1/audio/voices/{voice_id}")
async def delete_voice(voice_id: str, context: Ctx) -> DeletedVoice:
    """Delete an uploaded voice with everything computed from it; speech in progress finishes."""
    info = await context.info()
    try:
        profile = await _stored(voice_id, context)
        await asyncio.to_thread(context.voices.delete, DEFAULT_TENANT, profile.id)
    except NotFound:
        if voice_id.lower() in reserved_names(info, context.settings.voices):
            raise InvalidRequest(f"{voice_id!r} is built in and cannot be deleted", param="voice_id") from None
        raise
    return DeletedVoice(id=profile.id)


async def _added(adding: asyncio.Task[VoiceProfile], context: Context) -> VoiceProfile:
    """The stored voice. A client that leaves meanwhile leaves none behind, though the storing thread runs on."""
    try:
        return await asyncio.shield(adding)
    except asyncio.CancelledError:
        profile = await adding
        await asyncio.to_thread(context.voices.delete, profile.tenant, profile.id)
        raise


async def _stored(voice_id: str, context: Context) -> VoiceProfile:
    try:
        return await asyncio.to_thread(context.voices.get, DEFAULT_TENANT, voice_id)
    except NotFound as error:
        raise NotFound(error.message, "voice_id", "voice_not_found") from None


async def _prepare(profile: VoiceProfile, context: Context) -> None:
    try:
        await context.engine.prepare(voice_of(profile))
    except BaseException as error:
        if isinstance(error, KubevoiceError) and not isinstance(error, RequestError):
            # The voice is good and kept: its conditioning is computed on first use instead.
            logger.warning("conditioning of %s is postponed: %s", profile.id, error)
            return
        # Unusable, a bug, or a client that left: it never learns the id, and its next try must not find the name taken.
        with suppress(NotFound):
            await asyncio.to_thread(context.voices.delete, profile.tenant, profile.id)
        raise


def _card(profile: VoiceProfile) -> VoiceCard:
    return VoiceCard(
        id=profile.id,
        name=profile.name,
        type="audio_sample",
        language=profile.language,
        description=profile.description,
        created_at=int(profile.created_at.timestamp()),
        reference_seconds=round(profile.reference_seconds, 3),
    )


def _named_voices(info: EngineInfo, settings: VoiceSettings) -> list[VoiceCard]:
    presets = [VoiceCard(id=name, name=name, type="preset") for name in info.presets]
    names = ["default", *OPENAI_VOICES] if info.presets else []
    aliases = [VoiceCard(id=name, name=name, type="alias") for name in dict.fromkeys([*names, *settings.aliases])]
    return [*presets, *aliases]
