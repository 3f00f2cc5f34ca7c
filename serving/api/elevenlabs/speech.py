"""``POST /elevenlabs/v1/text-to-speech/{voice_id}`` and its ``/stream``."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from serving.api.context import Ctx
from serving.api.elevenlabs.formats import DEFAULT, OutputFormatName, chosen_format
from serving.api.elevenlabs.schemas import SpeechFields
from serving.api.elevenlabs.speaking import speaker
from serving.api.profiles import in_profile
from serving.api.speech import check_input
from serving.api.streaming import AudioStream, SpeechResponse
from serving.errors import KubevoiceError

router = APIRouter()

AUDIO: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The audio, streamed while it is made",
        "headers": {
            "X-Kubevoice-Warning": {
                "description": "What the request asked for and is not done; absent if nothing",
                "schema": {"type": "string"},
            }
        },
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

EnableLogging = Annotated[bool, Query(description="Accepted: nothing of a text is kept here either way")]
Latency = Annotated[int | None, Query(ge=0, le=4, description="Accepted: audio leaves as soon as there is any")]


@router.post(
    "/v1/text-to-speech/{voice_id}/stream",
    name="elevenlabs_speech_stream",
    response_class=StreamingResponse,
    responses=AUDIO,
)
@router.post("/v1/text-to-speech/{voice_id}", response_class=StreamingResponse, responses=AUDIO)
async def elevenlabs_speech(
    voice_id: str,
    body: SpeechFields,
    request: Request,
    context: Ctx,
    output_format: OutputFormatName = DEFAULT,
    enable_logging: EnableLogging = True,
    optimize_streaming_latency: Latency = None,
) -> StreamingResponse:
    """Speak a text. With and without `/stream` the first bytes leave before the last are made."""
    began = time.perf_counter()
    chosen = chosen_format(output_format)
    try:
        check_input(body.text, context.settings.limits.input_chars)
        who = await speaker(context, voice_id, body.model_id, body.language_code)
        who = replace(who, text_normalization=body.apply_text_normalization)
        asked = who.request(body.text, body.voice_settings, body.seed)
        own_speed = body.voice_settings.speed if body.voice_settings else None
        asked = await in_profile(asked, None, own_speed, context)
        charge = await context.quotas.take(request.scope, characters=len(body.text))
        stream = AudioStream(
            context.engine.stream(asked),
            chosen.codec,
            who.info.model,
            context.metrics,
            began,
            chosen.sample_rate,
            chosen.bit_rate,
            charge,
        )
        await stream.open_for(request.receive)
    except KubevoiceError as error:
        raise renamed(error, {"input": "text", "voice": "voice_id", "language": "language_code"}) from None
    request.scope["log_fields"] = {"model": who.info.model, "voice": who.voice.id, "characters": len(body.text)}
    headers = who.headers(body.ignored(), body.voice_settings, stream.revision)
    return SpeechResponse(stream, stream.audio(), chosen.media_type, headers)


def renamed(error: KubevoiceError, names: dict[str, str]) -> KubevoiceError:
    """``error`` with its field as this API calls it."""
    param = names.get(error.param or "")
    if param is not None:
        error.message = error.message.replace(str(error.param), param, 1)
        error.param = param
    return error
