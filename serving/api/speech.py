"""``POST /v1/audio/speech``."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from serving.api.caller import tenant
from serving.api.context import Context, Ctx
from serving.api.converting import Conversion, conversion_of, converted, labels, media_type, new_seed
from serving.api.profiles import in_profile
from serving.api.schemas import SpeechBody
from serving.api.streaming import AudioStream, SpeechResponse
from serving.audio.encode import FORMATS, OUTPUT_RATE
from serving.engines.base import EngineInfo, Sampling, SpeechRequest, Voice
from serving.errors import InvalidRequest, NotFound, PayloadTooLarge
from serving.selection import MODEL_ALIASES, resolve_voice

router = APIRouter(tags=["speech"])

CONVERSION = "conversion."
"""What names of its fields begin with in errors."""

EVENTS = (
    'data: {"type": "speech.audio.delta", "audio": "<base64 of the next bytes>"}\n\n'
    'data: {"type": "speech.audio.done", "usage": {"input_tokens": 14, "output_tokens": 60, "total_tokens": 74}, '
    '"finish_reason": "stop"}\n\n'
)

AUDIO: dict[str, Any] = {
    "description": "The audio, streamed while it is made, or server-sent events with `stream_format: sse`",
    "headers": {
        "X-Kubevoice-Engine": {"description": "What really spoke", "schema": {"type": "string"}},
        "X-Kubevoice-Model": {"description": "Its model and revision", "schema": {"type": "string"}},
        "X-Kubevoice-Warning": {
            "description": "What the request asked for and this engine does not do; absent if nothing",
            "schema": {"type": "string"},
        },
        "X-Kubevoice-Conversion": {
            "description": "Id of the conversion model; absent without `conversion`",
            "schema": {"type": "string"},
        },
        "X-Kubevoice-Sample-Rate": {
            "description": "Rate in Hz of speech that was converted; other speech has 24000",
            "schema": {"type": "string"},
        },
    },
    "content": {
        **{name.media_type: {"schema": {"type": "string", "format": "binary"}} for name in FORMATS.values()},
        "text/event-stream": {"example": EVENTS},
    },
}


@router.post("/v1/audio/speech", response_class=StreamingResponse, responses={200: AUDIO})
async def create_speech(body: SpeechBody, request: Request, context: Ctx) -> StreamingResponse:
    """Speak a text. The first bytes leave before the last are made; leaving the connection stops the work."""
    began = time.perf_counter()
    info = await context.info()
    check_model(body.model, info)
    check_input(body.input, context.settings.limits.input_chars)
    voice = await asyncio.to_thread(
        resolve_voice,
        body.voice_name,
        info=info,
        settings=context.settings.voices,
        voices=context.voices,
        tenant=tenant(),
    )
    conversion = await _conversion(body, context)
    own_speed = body.speed if "speed" in body.model_fields_set else None
    asked = await in_profile(speech_request(body, voice, context), body.profile, own_speed, context)
    charge = await context.quotas.take(request.scope, characters=len(body.input))
    chunks = context.engine.stream(asked)
    rate = OUTPUT_RATE
    if conversion is not None:
        chunks = converted(context, chunks, conversion, new_seed(body.seed), param=CONVERSION)
        rate = conversion.sample_rate
    stream = AudioStream(chunks, body.response_format, info.model, context.metrics, began, rate, charge=charge)
    await stream.open_for(request.receive)
    request.scope["log_fields"] = {"model": info.model, "voice": voice.id, "characters": len(body.input)}
    headers = {
        "X-Kubevoice-Engine": info.name,
        "X-Kubevoice-Model": f"{info.model}@{stream.revision or info.revision}",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
        **(labels(conversion) if conversion else {}),
    }
    if warnings := engine_warnings(body, voice, info):
        headers["X-Kubevoice-Warning"] = "; ".join(warnings)
    if body.stream_format == "sse":
        return SpeechResponse(stream, stream.events(), "text/event-stream", headers)
    plain = FORMATS[body.response_format].media_type
    kind = media_type(body.response_format, rate) if conversion else plain
    return SpeechResponse(stream, stream.audio(), kind, headers)


async def _conversion(body: SpeechBody, context: Context) -> Conversion | None:
    """What the speech is converted into; raises before anything is spoken."""
    if body.conversion is None:
        return None
    await context.converter.check()
    return await conversion_of(
        body.conversion, body.response_format, context, default_rate=OUTPUT_RATE, param=CONVERSION
    )


def speech_request(body: SpeechBody, voice: Voice, context: Context) -> SpeechRequest:
    """The engine's request: the language is the request's, else the voice's, else the server's."""
    return SpeechRequest(
        text=body.input,
        voice=voice,
        language=body.language or voice.language or context.settings.voices.language,
        speed=body.speed,
        seed=body.seed,
        sampling=Sampling(body.temperature, body.top_k, body.top_p, body.repetition_penalty),
        pronunciations=tuple(body.pronunciations or ()),
        text_normalization=body.text_normalization,
    )


def check_model(name: str, info: EngineInfo) -> None:
    """Raise NotFound unless ``name`` is the loaded model or an alias of it."""
    if name != info.model and name not in MODEL_ALIASES:
        raise NotFound(
            f"model {name!r} is not served here; GET /v1/models lists the models", "model", "model_not_found"
        )


def check_input(text: str, limit: int) -> None:
    """Raise unless ``text`` has something to say and is within the limit."""
    if len(text) > limit:
        raise PayloadTooLarge(f"input has {len(text):,} characters; this server takes at most {limit:,}", "input")
    if not text.strip():
        raise InvalidRequest("input has only blanks", param="input")


def engine_warnings(body: SpeechBody, voice: Voice, info: EngineInfo) -> list[str]:
    """What the caller asked for and this engine does not do: said in a header, never hidden."""
    warnings = []
    if voice.references and not info.clones:
        warnings.append(f"engine {info.name} does not clone: a preset speaks instead of the reference")
    if body.instructions:
        warnings.append("instructions are not followed")
    if not info.samples:
        options = ("temperature", "top_k", "top_p", "repetition_penalty")
        warnings += [f"{name} is ignored by engine {info.name}" for name in options if getattr(body, name) is not None]
    return warnings
