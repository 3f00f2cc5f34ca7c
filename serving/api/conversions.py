"""``POST /v1/audio/conversions``: a recording in another voice, whole or while it arrives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from serving.api.body import LiveBody
from serving.api.context import Context, Ctx
from serving.api.conversion_schemas import ConversionParameters, form_schema, query_parameters
from serving.api.converting import Conversion, conversion_of, converted, labels, media_type, new_seed
from serving.api.streaming import AudioStream, SpeechResponse
from serving.api.uploads import FORM, is_form, parse_fields, uploaded
from serving.audio.decode import check_file
from serving.audio.encode import FORMATS
from serving.audio.live import Pieces, file_pieces, in_thread, live_pieces
from serving.audio.pipe import BytePipe
from serving.engines.base import SpeechChunk
from serving.errors import InvalidRequest
from serving.files import refusing

router = APIRouter(tags=["conversion"])

ENGINE = "rvc"
LIVE = "audio/*"

BODY: dict[str, Any] = {
    "parameters": query_parameters(ConversionParameters),
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": form_schema(
                    ConversionParameters, {"file": "The recording, in any common format"}, required=["file", "model"]
                )
            },
            LIVE: {"schema": {"type": "string", "format": "binary"}},
        },
    },
}
AUDIO: dict[str, Any] = {
    "description": "The converted recording, as long as the input, streamed while it is made",
    "headers": {
        "X-Kubevoice-Conversion": {"description": "Id of the conversion model", "schema": {"type": "string"}},
        "X-Kubevoice-Sample-Rate": {"description": "The result's rate in Hz", "schema": {"type": "string"}},
    },
    "content": {each.media_type: {"schema": {"type": "string", "format": "binary"}} for each in FORMATS.values()},
}


@dataclass(frozen=True)
class Recording:
    """What is converted; ``receive`` waits for the client to leave. ``whole``: it was there before it is converted."""

    chunks: AsyncGenerator[SpeechChunk, None]
    receive: Receive
    whole: bool


@router.post("/v1/audio/conversions", response_class=StreamingResponse, responses={200: AUDIO}, openapi_extra=BODY)
async def create_conversion(request: Request, context: Ctx) -> StreamingResponse:
    """Convert a recording. Send a form with the `file` and the options, or the recording itself as the body.

    A body of `Content-Type: audio/*` is converted while it arrives and answered before it ends; its options are in
    the query. `audio/pcm; rate=24000` is raw signed 16-bit little-endian. A form is converted in longer pieces: less
    work, and a later first sound.
    """
    began = time.perf_counter()
    await context.converter.check()
    async with AsyncExitStack() as held:
        take = _from_form if is_form(request) else _from_body
        asked, conversion, recording = await take(request, context, held)
        charge = await context.quotas.take(request.scope)
        chunks = converted(context, recording.chunks, conversion, new_seed(asked.seed), whole=recording.whole)
        rate = conversion.sample_rate
        stream = AudioStream(chunks, asked.response_format, ENGINE, context.metrics, began, rate, charge=charge)
        await stream.open_for(recording.receive)
        request.scope["log_fields"] = {"model": ENGINE, "voice": conversion.model.id}
        kind = media_type(asked.response_format, conversion.sample_rate)
        return HeldResponse(stream, kind, _headers(conversion), recording.receive, held.pop_all())


async def _from_form(
    request: Request, context: Context, held: AsyncExitStack
) -> tuple[ConversionParameters, Conversion, Recording]:
    """A recording that is there as a whole: found whole before any of it is converted."""
    limits = context.settings.limits
    form = await held.enter_async_context(
        uploaded(request, context.conversion_models.volume, {"file": limits.conversion_bytes})
    )
    asked = parse_fields(ConversionParameters, _once({**form.fields}, request))
    conversion = await conversion_of(asked, asked.response_format, context)
    path = form.file("file")
    await asyncio.to_thread(_check, path, limits.conversion_max_s)
    pieces = file_pieces(path, max_seconds=limits.conversion_max_s, param="file")
    return asked, conversion, Recording(_chunks(pieces), request.receive, whole=True)


async def _from_body(
    request: Request, context: Context, held: AsyncExitStack
) -> tuple[ConversionParameters, Conversion, Recording]:
    """A recording that is converted while it arrives."""
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith(("audio/", "application/ogg", "application/octet-stream")):
        raise InvalidRequest(
            f"send the recording as {FORM}, or as the body with Content-Type audio/wav, audio/mpeg, audio/pcm; "
            f"rate=24000 or the like, not {content_type[:80] or 'without one'}",
            "Content-Type",
            "invalid_body",
        )
    asked = parse_fields(ConversionParameters, _once({}, request))
    conversion = await conversion_of(asked, asked.response_format, context)
    pipe = BytePipe()
    body = LiveBody(request.receive, pipe)
    held.push_async_callback(body.close)
    seconds = context.settings.limits.conversion_max_s
    pieces = live_pieces(pipe, content_type, max_seconds=seconds, param="file")
    return asked, conversion, Recording(_chunks(pieces, pipe), body.receive, whole=False)


def _once(fields: Mapping[str, str], request: Request) -> dict[str, str]:
    """``fields`` and those of the query; raises InvalidRequest for one that is given twice."""
    merged = dict(fields)
    for name, value in request.query_params.multi_items():
        if name in merged:
            raise InvalidRequest(f"{name[:100]}: give it once, in the form or in the query", name[:100])
        merged[name] = value
    return merged


def _check(path: Path, max_seconds: float) -> None:
    with refusing(path):
        check_file(path, max_seconds=max_seconds, param="file")


async def _chunks(pieces: Pieces, pipe: BytePipe | None = None) -> AsyncGenerator[SpeechChunk, None]:
    audio = in_thread(pieces, pipe)
    try:
        async for piece in audio:
            yield SpeechChunk(piece.pcm, piece.sample_rate)
    finally:
        await audio.aclose()


class HeldResponse(SpeechResponse):
    """Frees what the recording needed when the response has ended, however it does."""

    def __init__(
        self,
        stream: AudioStream,
        media_type: str,
        headers: Mapping[str, str],
        receive: Receive,
        held: AsyncExitStack,
    ) -> None:
        super().__init__(stream, stream.audio(), media_type, headers)
        self._held, self._recording_receive = held, receive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, self._recording_receive, send)


def _headers(conversion: Conversion) -> dict[str, str]:
    return {
        **labels(conversion),
        "X-Kubevoice-Engine": ENGINE,
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
    }
