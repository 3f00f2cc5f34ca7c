"""``/v1/audio/voices``: list, upload, show and delete voices."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, UploadFile

from serving.api.audited import audited
from serving.api.caller import tenant
from serving.api.context import Context, Ctx
from serving.api.schemas import DeletedVoice, VoiceCard, VoiceList
from serving.engines.base import EngineInfo
from serving.errors import Conflict, InvalidRequest, KubevoiceError, NotFound, RequestError
from serving.quality import with_similarity
from serving.selection import OPENAI_VOICES, normal_language, reserved_names, voice_of
from serving.settings_groups import VoiceSettings
from serving.store.profile import clean_name
from serving.store.voices import VoiceProfile
from serving.voices import PreparedVoice, prepare_voice

logger = logging.getLogger(__name__)

router = APIRouter(tags=["voices"])

MOST_SAMPLES = 10


@router.get("/v1/audio/voices")
async def list_voices(context: Ctx) -> VoiceList:
    """Every name that ``voice`` takes: uploaded voices, the model's presets, aliases."""
    info = await context.info()
    stored = await asyncio.to_thread(context.voices.list, tenant())
    return VoiceList(voices=[*map(voice_card, stored), *_named_voices(info, context.settings.voices)])


@router.post("/v1/audio/voices")
async def create_voice(
    context: Ctx,
    name: Annotated[str, Form(min_length=1, max_length=64, description="Unique name of the voice")],
    audio_sample: Annotated[
        list[UploadFile], File(description=f"1 to {MOST_SAMPLES} recordings of the voice, in any common format")
    ],
    language: Annotated[str | None, Form(min_length=2, max_length=16, description="Language of the voice")] = None,
    description: Annotated[str | None, Form(max_length=500)] = None,
    consent: Annotated[
        str | None, Form(max_length=500, description="The speaker's consent: an id, or in words")
    ] = None,
    denoise: Annotated[
        bool, Form(description="Take background noise out of the recordings before they are kept")
    ] = False,
    type: Annotated[Literal["audio_sample"], Form(description="Only voices from a sample")] = "audio_sample",  # noqa: A002
) -> VoiceCard:
    """Keep a reference voice. Its conditioning is computed at once, so that the first sentence does not wait."""
    if len(audio_sample) > MOST_SAMPLES:
        raise InvalidRequest(f"audio_sample: send at most {MOST_SAMPLES}", "audio_sample")
    samples = [await each.read() for each in audio_sample]
    profile = await add_voice(context, name, samples, "audio_sample", language, description, consent, denoise=denoise)
    return voice_card(profile)


async def add_voice(
    context: Context,
    name: str,
    samples: Sequence[bytes],
    param: str,
    language: str | None = None,
    description: str | None = None,
    consent: str | None = None,
    *,
    denoise: bool = False,
) -> VoiceProfile:
    """Keep a voice of the recordings ``samples``, which the request calls ``param``."""
    name, language = await usable_names(context, name, language)
    await asyncio.to_thread(context.consents.check, tenant(), consent)  # before the recordings are looked at
    params = [param] * len(samples)
    prepared = await asyncio.to_thread(prepare_voice, samples, context.settings.limits, params, clean=denoise)
    return await keep_voice(context, name, prepared, language, description, consent)


async def usable_names(context: Context, name: str, language: str | None) -> tuple[str, str | None]:
    """Both as they are kept; raises Conflict for a built-in name, InvalidRequest for what cannot be used."""
    info = await context.info()
    name = clean_name(name)
    if name.lower() in reserved_names(info, context.settings.voices):
        raise Conflict(f"the name {name!r} is taken by a built-in voice; choose another", param="name")
    return name, None if language is None else normal_language(language, info)


async def keep_voice(
    context: Context,
    name: str,
    prepared: PreparedVoice,
    language: str | None,
    description: str | None,
    consent: str | None,
) -> VoiceProfile:
    """Store a voice and let the engine listen to it; nothing is left of one that it cannot use."""
    adding = asyncio.to_thread(
        context.voices.add,
        tenant=tenant(),
        name=name,
        references=prepared.references,
        reference_seconds=prepared.seconds,
        quality=prepared.quality,
        pronunciations=prepared.pronunciations,
        language=language,
        description=description,
        consent=consent,
    )
    profile = await _added(asyncio.create_task(adding), context)
    return await _prepare(profile, context)


@router.get("/v1/audio/voices/{voice_id}")
async def get_voice(voice_id: str, context: Ctx) -> VoiceCard:
    """One voice of the list, by id or name."""
    named = _named_voices(await context.info(), context.settings.voices)
    if built_in := next((card for card in named if card.id == voice_id), None):
        return built_in
    return voice_card(await stored_voice(voice_id, context))


@router.delete("/v1/audio/voices/{voice_id}")
async def delete_voice(voice_id: str, context: Ctx) -> DeletedVoice:
    """Delete an uploaded voice with everything computed from it; speech in progress finishes."""
    info = await context.info()
    try:
        profile = await stored_voice(voice_id, context)
        audited(profile.id)
        await asyncio.to_thread(context.voices.delete, tenant(), profile.id)
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


async def stored_voice(voice_id: str, context: Context) -> VoiceProfile:
    try:
        return await asyncio.to_thread(context.voices.get, tenant(), voice_id)
    except NotFound as error:
        raise NotFound(error.message, "voice_id", "voice_not_found") from None


async def _prepare(profile: VoiceProfile, context: Context) -> VoiceProfile:
    try:
        await context.engine.prepare(voice_of(profile))
        similarity = await context.engine.similarity(voice_of(profile))
        if similarity is None or profile.quality is None:
            return profile
        quality = with_similarity(profile.quality, similarity)
        return await asyncio.to_thread(context.voices.set_quality, profile, quality)
    except BaseException as error:
        if isinstance(error, KubevoiceError) and not isinstance(error, RequestError):
            # The voice is good and kept: its conditioning is computed on first use instead.
            logger.warning("conditioning of %s is postponed: %s", profile.id, error)
            return profile
        # Unusable, a bug, or a client that left: it never learns the id, and its next try must not find the name taken.
        with suppress(NotFound):
            await asyncio.to_thread(context.voices.delete, profile.tenant, profile.id)
        raise


def voice_card(profile: VoiceProfile) -> VoiceCard:
    return VoiceCard(
        id=profile.id,
        name=profile.name,
        type="audio_sample",
        language=profile.language,
        description=profile.description,
        created_at=int(profile.created_at.timestamp()),
        reference_seconds=round(profile.reference_seconds, 3),
        quality=profile.quality,
    )


def _named_voices(info: EngineInfo, settings: VoiceSettings) -> list[VoiceCard]:
    presets = [VoiceCard(id=name, name=name, type="preset") for name in info.presets]
    names = ["default", *OPENAI_VOICES] if info.presets else []
    aliases = [VoiceCard(id=name, name=name, type="alias") for name in dict.fromkeys([*names, *settings.aliases])]
    return [*presets, *aliases]
