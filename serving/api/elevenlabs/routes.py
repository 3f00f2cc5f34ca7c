"""All routes of this API."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from serving.api.elevenlabs import PREFIX, conversion, live, models, speech, voices
from serving.api.elevenlabs.schemas import ErrorAnswer

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request cannot be served as it is"},
    "5XX": {"model": ErrorAnswer, "description": "The engine or the volume failed"},
    422: {"model": ErrorAnswer, "description": "A field is missing or has a value that cannot be used"},
    429: {"model": ErrorAnswer, "description": "At capacity, or over a quota: try again after `Retry-After` seconds"},
    503: {"model": ErrorAnswer, "description": "Cannot speak at the moment: try again after `Retry-After` seconds"},
}

router = APIRouter(prefix=PREFIX, tags=["elevenlabs"], responses=ERRORS)
for part in (speech, live, conversion, voices, models):
    router.include_router(part.router)
