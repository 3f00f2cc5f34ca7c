"""What a client sends over the socket of ``stream-input``, and what it is sent."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from serving.api.elevenlabs.schemas import VoiceSettings

ScheduleItem = Annotated[int, Field(ge=5, le=500)]


class GenerationConfig(BaseModel):
    """``chunk_length_schedule``: characters that each piece of text waits for, the last for all further ones."""

    model_config = ConfigDict(extra="ignore")

    chunk_length_schedule: Annotated[list[ScheduleItem], Field(min_length=1, max_length=50)] | None = None


class TextMessage(BaseModel):
    """One message. An empty ``text`` ends the speech; ``flush`` speaks all there is, and leaves the socket open.

    The first message may hold ``voice_settings`` and ``generation_config``; later ones cannot change them.
    """

    model_config = ConfigDict(extra="ignore")

    text: Annotated[str, Field(max_length=100_000)]
    try_trigger_generation: bool | None = None
    flush: bool | None = None
    voice_settings: VoiceSettings | None = None
    generation_config: GenerationConfig | None = None


def audio(data: bytes) -> dict[str, Any]:
    """The next bytes; ``alignment`` is null, since nothing here knows which character sounds when."""
    return {
        "audio": base64.b64encode(data).decode(),
        "isFinal": None,
        "alignment": None,
        "normalizedAlignment": None,
    }


def final() -> dict[str, Any]:
    return {"audio": None, "isFinal": True, "alignment": None, "normalizedAlignment": None}


def failure(message: str, code: str) -> dict[str, Any]:
    return {"message": message, "error": code, "code": 1008}
