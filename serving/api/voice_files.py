"""``/v1/audio/voices``: a voice as one file, out of this server and into it."""

from __future__ import annotations

import asyncio
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, File, Form, Response, UploadFile

from serving.api.context import Ctx
from serving.api.schemas import VoiceCard
from serving.api.voices import keep_voice, stored_voice, usable_names, voice_card
from serving.errors import NotFound
from serving.selection import reserved_names
from serving.store.voice_archive import archived, pack, unpack
from serving.voices import prepare_archived

router = APIRouter(tags=["voices"])

ZIP = "application/zip"


@router.get("/v1/audio/voices/{voice_id}/export", response_class=Response, responses={200: {"content": {ZIP: {}}}})
async def export_voice(voice_id: str, context: Ctx) -> Response:
    """An uploaded voice as a zip: its recordings, and all that is known of it but ids and the owner."""
    try:
        profile = await stored_voice(voice_id, context)
    except NotFound:
        if voice_id.lower() in reserved_names(await context.info(), context.settings.voices):
            message = f"{voice_id!r} is built in and has no recordings to export"
            raise NotFound(message, "voice_id", "voice_not_found") from None
        raise
    data = await asyncio.to_thread(lambda: pack(archived(profile, context.consents)))
    name = quote(f"{profile.name}.zip", safe="")
    return Response(data, media_type=ZIP, headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"})


@router.post("/v1/audio/voices/import")
async def import_voice(
    context: Ctx,
    file: Annotated[UploadFile, File(description="What the export of a voice gave")],
    name: Annotated[
        str | None, Form(min_length=1, max_length=64, description="Another name than the voice had")
    ] = None,
) -> VoiceCard:
    """Add the voice of an export. It gets a new id, and its conditioning is computed here."""
    voice = await asyncio.to_thread(unpack, await file.read())
    name, language = await usable_names(context, name or voice.name, voice.language)
    prepared = await asyncio.to_thread(prepare_archived, voice, context.settings.limits)
    return voice_card(await keep_voice(context, name, prepared, language, voice.description, voice.consent))
