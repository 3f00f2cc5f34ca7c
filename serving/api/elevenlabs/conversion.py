"""``POST /elevenlabs/v1/speech-to-speech/{voice_id}`` and its ``/stream``: voice conversion by RVC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from serving.api.context import Context, Ctx
from serving.api.conversion_schemas import ConversionFields, form_schema
from serving.api.conversions import ENGINE, HeldResponse
from serving.api.converting import conversion_of, converted, labels, new_seed
from serving.api.elevenlabs.formats import DEFAULT, OutputFormat, OutputFormatName, chosen_format
from serving.api.elevenlabs.speech import AUDIO, EnableLogging, Latency, renamed
from serving.api.quotas import Charge
from serving.api.streaming import AudioStream
from serving.api.uploads import FORM, parse_fields, uploaded
from serving.audio.decode import check_file
from serving.audio.live import Pieces, file_pieces, in_thread, raw_file_pieces
from serving.engines.base import SpeechChunk
from serving.errors import KubevoiceError
from serving.files import refusing

router = APIRouter()

RAW_RATE = 16000
"""Hz of ``file_format=pcm_s16le_16``."""


class ConversionForm(BaseModel):
    """The fields beside ``audio``."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    model_id: str | None = Field(None, description="Accepted: there is one converter")
    voice_settings: Annotated[str, StringConstraints(max_length=4096)] | None = Field(
        None, description="Accepted as JSON; RVC follows none of them"
    )
    seed: int | None = Field(None, ge=0, le=2**32 - 1)
    remove_background_noise: bool = Field(False, description="Not done; a response header says so")
    file_format: Literal["other", "pcm_s16le_16"] = Field(
        "other", description="pcm_s16le_16 is signed 16-bit little-endian, mono at 16 kHz, without a header"
    )


BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {"schema": form_schema(ConversionForm, {"audio": "The recording to convert"}, required=["audio"])}
        },
    }
}


@router.post(
    "/v1/speech-to-speech/{voice_id}/stream",
    name="elevenlabs_conversion_stream",
    response_class=StreamingResponse,
    responses=AUDIO,
    openapi_extra=BODY,
)
@router.post("/v1/speech-to-speech/{voice_id}", response_class=StreamingResponse, responses=AUDIO, openapi_extra=BODY)
async def elevenlabs_conversion(
    voice_id: str,
    request: Request,
    context: Ctx,
    output_format: OutputFormatName = DEFAULT,
    enable_logging: EnableLogging = True,
    optimize_streaming_latency: Latency = None,
) -> StreamingResponse:
    """Convert a recording; `voice_id` is the id or name of a conversion model.

    With `/stream` the pieces are short at first, so that the first sound comes sooner.
    """
    whole = not request.url.path.endswith("/stream")
    began = time.perf_counter()
    chosen = chosen_format(output_format)
    await context.converter.check()
    limits = context.settings.limits
    async with AsyncExitStack() as held:
        volume = context.conversion_models.volume
        form = await held.enter_async_context(uploaded(request, volume, {"audio": limits.conversion_bytes}))
        asked = parse_fields(ConversionForm, form.fields)
        pieces = await asyncio.to_thread(_pieces, form.file("audio"), asked, limits.conversion_max_s)
        try:
            fields = ConversionFields(model=voice_id[:128], sample_rate=chosen.sample_rate)  # no name is as long
            conversion = await conversion_of(fields, chosen.codec, context)
            charge = await context.quotas.take(request.scope)
            chunks = converted(context, _chunks(pieces), conversion, new_seed(asked.seed), whole=whole)
            stream = _stream(chunks, chosen, context, began, charge)
            await stream.open_for(request.receive)
        except KubevoiceError as error:
            raise renamed(error, {"model": "voice_id", "file": "audio"}) from None
        request.scope["log_fields"] = {"model": ENGINE, "voice": conversion.model.id}
        headers = {**labels(conversion), "X-Kubevoice-Engine": ENGINE, "X-Accel-Buffering": "no"}
        if asked.remove_background_noise:
            headers["X-Kubevoice-Warning"] = "remove_background_noise is not followed"
        return HeldResponse(stream, chosen.media_type, headers, request.receive, held.pop_all())


def _stream(
    chunks: AsyncGenerator[SpeechChunk, None], chosen: OutputFormat, context: Context, began: float, charge: Charge
) -> AudioStream:
    rate, bit_rate = chosen.sample_rate, chosen.bit_rate
    return AudioStream(chunks, chosen.codec, ENGINE, context.metrics, began, rate, bit_rate, charge)


def _pieces(path: Path, asked: ConversionForm, max_seconds: float) -> Pieces:
    if asked.file_format == "pcm_s16le_16":
        return raw_file_pieces(path, RAW_RATE, max_seconds=max_seconds, param="audio")
    with refusing(path):
        check_file(path, max_seconds=max_seconds, param="audio")
    return file_pieces(path, max_seconds=max_seconds, param="audio")


async def _chunks(pieces: Pieces) -> AsyncGenerator[SpeechChunk, None]:
    audio = in_thread(pieces)
    try:
        async for piece in audio:
            yield SpeechChunk(piece.pcm, piece.sample_rate)
    finally:
        await audio.aclose()
