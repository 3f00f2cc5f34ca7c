"""Errors as ElevenLabs' clients read them: ``{"detail": {"status", "message"}}``, a list of fields with status 422."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from serving.api.elevenlabs import PREFIX


def is_elevenlabs(path: str) -> bool:
    """Whether a route of ``path`` answers in this shape."""
    return path.startswith(f"{PREFIX}/")


def detail(message: str, param: str | None, code: str) -> dict[str, Any]:
    """The body of one error; ``param`` is an addition of ours."""
    named = {} if param is None else {"param": param}
    return {"detail": {"status": code, "message": message, **named}}


def invalid(errors: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The body for what validation found, without what the client sent."""
    return {"detail": [{key: error[key] for key in ("loc", "msg", "type")} for error in errors]}
