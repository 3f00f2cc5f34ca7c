"""``/elevenlabs/v1/voices`` and ``/elevenlabs/v2/voices``: the voices of this server, and new ones from recordings."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

from fastapi import APIRouter, File, Form, Query, UploadFile

from serving.api import voices as openai_voices
from serving.api.caller import tenant
from serving.api.context import Context, Ctx
from serving.api.elevenlabs.schemas import (
    SIMILARITY,
    STABILITY,
    AddedVoice,
    Done,
    VoiceItem,
    VoiceItems,
    VoicePage,
    VoiceSettings,
)
from serving.errors import InvalidRequest, NotFound
from serving.store.voices import VoiceProfile

router = APIRouter()

MAX_FILES = 25
DEFAULTS = VoiceSettings(
    stability=STABILITY, similarity_boost=SIMILARITY, style=0.0, use_speaker_boost=False, speed=1.0
)


@router.get("/v1/voices")
async def elevenlabs_voices(context: Ctx) -> VoiceItems:
    """The presets of the model, then uploaded voices."""
    return VoiceItems(voices=await _items(context))


@router.get("/v2/voices")
async def elevenlabs_search_voices(
    context: Ctx,
    search: Annotated[str, Query(max_length=200, description="Part of a name or description")] = "",
    page_size: Annotated[int, Query(ge=1, le=100)] = 10,
    next_page_token: Annotated[str | None, Query(max_length=20)] = None,
) -> VoicePage:
    """The same voices by pages."""
    wanted = search.lower()
    items = [item for item in await _items(context) if wanted in f"{item.name} {item.description or ''}".lower()]
    place = next_page_token or "0"
    if not place.isascii() or not place.isdigit():
        raise InvalidRequest("next_page_token is none that this server gave", "next_page_token")
    start = int(place)
    end = start + page_size
    more = end < len(items)
    token = str(end) if more else None
    return VoicePage(voices=items[start:end], has_more=more, total_count=len(items), next_page_token=token)


@router.get("/v1/voices/settings/default")
async def elevenlabs_default_settings() -> VoiceSettings:
    """The settings at which a voice speaks as the model's authors meant it."""
    return DEFAULTS


@router.get("/v1/voices/{voice_id}")
async def elevenlabs_voice(voice_id: str, context: Ctx) -> VoiceItem:
    """One voice, by id or name."""
    for item in await _items(context):
        if voice_id in (item.voice_id, item.name):
            return item
    raise _unknown(voice_id)


@router.post("/v1/voices/add")
async def elevenlabs_add_voice(
    context: Ctx,
    name: Annotated[str, Form(min_length=1, max_length=64)],
    files: Annotated[list[UploadFile], File(description=f"1 to {MAX_FILES} recordings of the voice")],
    description: Annotated[str | None, Form(max_length=500)] = None,
    labels: Annotated[str | None, Form(max_length=2000, description="JSON object of strings")] = None,
    remove_background_noise: Annotated[bool, Form(description="Before the recordings are kept")] = False,
) -> AddedVoice:
    """Clone a voice from recordings. The labels `language` and `consent` are kept as the voice's own."""
    if len(files) > MAX_FILES:
        raise InvalidRequest(f"files: send at most {MAX_FILES}", "files")
    given = _labels(labels)
    samples = [await file.read() for file in files]
    profile = await openai_voices.add_voice(
        context,
        name,
        samples,
        "files",
        given.get("language"),
        description,
        given.get("consent"),
        denoise=remove_background_noise,
    )
    return AddedVoice(voice_id=profile.id)


@router.delete("/v1/voices/{voice_id}")
async def elevenlabs_delete_voice(voice_id: str, context: Ctx) -> Done:
    """Delete an uploaded voice with everything computed from it."""
    try:
        await openai_voices.delete_voice(voice_id, context)
    except NotFound:
        raise _unknown(voice_id) from None
    return Done()


async def _items(context: Context) -> list[VoiceItem]:
    info = await context.info()
    stored = await asyncio.to_thread(context.voices.list, tenant())
    presets = [
        VoiceItem(voice_id=name, name=name, category="premade", settings=DEFAULTS, is_owner=False)
        for name in info.presets
    ]
    return [*presets, *map(_item, stored)]


def _item(profile: VoiceProfile) -> VoiceItem:
    return VoiceItem(
        voice_id=profile.id,
        name=profile.name,
        category="cloned",
        description=profile.description,
        labels={} if profile.language is None else {"language": profile.language},
        settings=DEFAULTS,
        created_at_unix=int(profile.created_at.timestamp()),
    )


def _labels(text: str | None) -> dict[str, str]:
    try:
        labels = json.loads(text or "null")
    except (ValueError, RecursionError):
        labels = text
    if labels is None:  # what the official client sends for none
        return {}
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise InvalidRequest('labels: send a JSON object of strings, such as {"language": "en"}', "labels")
    return labels


def _unknown(voice_id: str) -> NotFound:
    return NotFound(
        f"there is no voice {voice_id[:100]!r}; GET /elevenlabs/v1/voices lists the voices",
        "voice_id",
        "voice_not_found",
    )
