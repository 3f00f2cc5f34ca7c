"""``/v1/audio/voices/{voice_id}/pronunciations``: how a voice says words, for one tenant."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from serving.api.caller import tenant
from serving.api.context import Context, Ctx
from serving.engines.pronunciation import FILE, MOST_OF_VOICE, Pronunciation, read_file
from serving.errors import InvalidRequest, NotFound
from serving.selection import resolve_voice
from serving.store.voices import PresetProfile, VoiceProfile

router = APIRouter(tags=["voices"])


class PronunciationList(BaseModel):
    """A voice's whole dictionary: what PUT takes and GET gives."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "pronunciations": [
                        {"word": "kubectl", "spoken": "cube control"},
                        {"word": "SQL", "spoken": "sequel", "language": "en", "case_sensitive": True},
                    ]
                }
            ]
        },
    )

    pronunciations: Annotated[list[Pronunciation], Field(max_length=MOST_OF_VOICE)]


class DeletedPronunciations(BaseModel):
    """``id`` is that of the voice that speaks: where it was named by an alias, of what that stands for."""

    id: str
    object: Literal["audio.voice.pronunciations.deleted"] = "audio.voice.pronunciations.deleted"
    deleted: bool = True


@router.get("/v1/audio/voices/{voice_id}/pronunciations")
async def get_pronunciations(voice_id: str, context: Ctx) -> PronunciationList:
    """The dictionary of a voice; empty where it has none. That of a built-in voice is your own."""
    profile = await _voice(voice_id, context)
    return PronunciationList(pronunciations=list(await asyncio.to_thread(read_file, profile.pronunciations)))


@router.put("/v1/audio/voices/{voice_id}/pronunciations")
async def replace_pronunciations(voice_id: str, body: PronunciationList, context: Ctx) -> PronunciationList:
    """Give a voice this dictionary instead of the one it has; the next request is spoken by it."""
    _refuse_twice(body.pronunciations)
    profile = await _voice(voice_id, context)
    data = FILE.dump_json(tuple(body.pronunciations), indent=1, exclude_defaults=True)
    await asyncio.to_thread(context.voices.set_pronunciations, profile, data)
    return body


@router.delete("/v1/audio/voices/{voice_id}/pronunciations")
async def delete_pronunciations(voice_id: str, context: Ctx) -> DeletedPronunciations:
    """Leave a voice without a dictionary."""
    profile = await _voice(voice_id, context)
    await asyncio.to_thread(context.voices.set_pronunciations, profile, None)
    return DeletedPronunciations(id=profile.id)


def _refuse_twice(entries: list[Pronunciation]) -> None:
    """Of two entries for the same word only one could be said."""
    seen: dict[tuple[str, str | None], int] = {}
    for index, entry in enumerate(entries):
        word = entry.word if entry.case_sensitive else entry.word.lower()
        key = (f"{entry.case_sensitive} {word}", entry.language)
        if key in seen:
            raise InvalidRequest(
                f"pronunciations.{index} has the word {entry.word!r} of pronunciations.{seen[key]}; keep one of them",
                f"pronunciations.{index}.word",
            )
        seen[key] = index


async def _voice(voice_id: str, context: Context) -> VoiceProfile | PresetProfile:
    """The voice that speaks for ``voice_id`` in a request; of one of the model's own, what the tenant has of it."""
    with suppress(NotFound):
        own = await asyncio.to_thread(context.voices.get, tenant(), voice_id)
        if own.id == voice_id:  # a name may be an alias's or a preset's as well, which come first
            return own
    info = await context.info()
    try:
        voice = await asyncio.to_thread(
            resolve_voice,
            voice_id,
            info=info,
            settings=context.settings.voices,
            voices=context.voices,
            tenant=tenant(),
        )
    except (InvalidRequest, NotFound) as error:
        raise type(error)(error.message, "voice_id", error.code) from None
    if voice.preset is not None:
        return context.voices.preset(tenant(), voice.preset)
    return await asyncio.to_thread(context.voices.get, tenant(), voice.id)
