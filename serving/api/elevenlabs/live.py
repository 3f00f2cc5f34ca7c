"""``WS /elevenlabs/v1/text-to-speech/{voice_id}/stream-input``: text comes in pieces, audio leaves before it ends."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, cast

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from serving.api.context import Context
from serving.api.elevenlabs.assembling import SCHEDULE, TextBuffer
from serving.api.elevenlabs.formats import DEFAULT, OutputFormat, chosen_format
from serving.api.elevenlabs.messages import TextMessage, audio, failure, final
from serving.api.elevenlabs.schemas import VoiceSettings
from serving.api.elevenlabs.speaking import Speaker, speaker
from serving.api.errors import INTERNAL_ERROR, StreamBrokenError
from serving.api.profiles import in_profile
from serving.api.quotas import Charge
from serving.api.streaming import AudioStream
from serving.engines.base import SpeechChunk, TextNormalization
from serving.errors import InvalidRequest, KubevoiceError, PayloadTooLarge, Unavailable
from serving.logs import request_id
from serving.metrics import REFUSALS

logger = logging.getLogger(__name__)

router = APIRouter()

WAITING_TEXTS = 8
"""Times ``limits.input_chars`` that may wait to be spoken on one socket."""

POLICY = 1008
"""Close code (RFC 6455) of what cannot be served; 1000 ends what could."""


@router.websocket("/v1/text-to-speech/{voice_id}/stream-input")
async def elevenlabs_stream_input(
    socket: WebSocket,
    voice_id: str,
    model_id: str | None = None,
    language_code: str | None = None,
    output_format: str = DEFAULT,
    inactivity_timeout: Annotated[float, Query(gt=0, le=180)] = 20.0,
    auto_mode: bool = False,
    seed: Annotated[int | None, Query(ge=0, le=2**32 - 1)] = None,
    apply_text_normalization: TextNormalization = "auto",
) -> None:
    """Speak text while it arrives."""
    context = cast("Context", socket.app.state.context)
    token = request_id.set(f"req_{secrets.token_hex(12)}")
    await socket.accept()
    context.in_progress += 1
    try:
        await _serve(
            socket,
            context,
            voice_id,
            model_id,
            language_code,
            output_format,
            inactivity_timeout,
            auto_mode,
            seed,
            apply_text_normalization,
        )
    finally:
        context.in_progress -= 1
        request_id.reset(token)


async def _serve(
    socket: WebSocket,
    context: Context,
    voice_id: str,
    model_id: str | None,
    language_code: str | None,
    format_name: str,
    timeout_s: float,
    by_sentence: bool,
    seed: int | None,
    normalization: TextNormalization,
) -> None:
    try:
        if context.draining:
            raise Unavailable("this server is stopping; connect again")
        chosen = chosen_format(format_name)
        who = replace(await speaker(context, voice_id, model_id, language_code), text_normalization=normalization)
        charge = await context.quotas.take(socket.scope, param="text")
        conversation = Conversation(socket, context, who, chosen, seed, charge)
        await conversation.run(timeout_s, by_sentence=by_sentence)
    except WebSocketDisconnect:
        logger.info("the client of a live text has left")
    except (KubevoiceError, StreamBrokenError) as error:
        code = getattr(error, "code", "engine_error")
        context.metrics.add(REFUSALS, reason=code)
        await _refuse(socket, str(error), code)
    except Exception:
        logger.exception("a live text failed")
        await _refuse(socket, INTERNAL_ERROR, "internal_error")


async def _refuse(socket: WebSocket, message: str, code: str) -> None:
    try:
        await socket.send_json(failure(message, code))
        await socket.close(POLICY, code)
    except (WebSocketDisconnect, RuntimeError):  # the client has left meanwhile
        return


class Conversation:
    """One socket: reads text, speaks it piece after piece as one stream of audio."""

    def __init__(
        self,
        socket: WebSocket,
        context: Context,
        who: Speaker,
        chosen: OutputFormat,
        seed: int | None,
        charge: Charge,
    ) -> None:
        self._charge = charge
        self._socket, self._context, self._who, self._chosen, self._seed = socket, context, who, chosen, seed
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self._waiting = 0
        self._settings: VoiceSettings | None = None
        self._runs_out: float | None = None
        self._stream: AudioStream | None = None

    async def run(self, timeout_s: float, *, by_sentence: bool) -> None:
        """Until all text is spoken and sent. Raises WebSocketDisconnect as soon as the client has left."""
        reading = asyncio.create_task(self._read(timeout_s, by_sentence))
        speaking = asyncio.create_task(self._speak())
        try:
            await asyncio.wait((reading, speaking), return_when=asyncio.FIRST_EXCEPTION)
            for task in (speaking, reading):
                if task.done():
                    task.result()
        finally:
            reading.cancel()
            speaking.cancel()
            await asyncio.gather(reading, speaking, return_exceptions=True)

    async def _read(self, timeout_s: float, by_sentence: bool) -> None:
        """Take text until the client ends it, then wait for it to leave, which it does once all is sent."""
        most = self._context.settings.limits.input_chars
        message = await self._message(timeout_s)
        self._settings = message.voice_settings
        config = message.generation_config
        schedule = config.chunk_length_schedule if config and config.chunk_length_schedule else SCHEDULE
        buffer = TextBuffer(schedule, by_sentence=by_sentence, most=most)
        while message.text:
            await self._charge.pay(characters=len(message.text))
            self._take(buffer.add(message.text, trigger=bool(message.try_trigger_generation)))
            if message.flush:
                self._take(buffer.flush())
            if len(buffer) + self._waiting > WAITING_TEXTS * most:
                raise PayloadTooLarge(f"more than {WAITING_TEXTS * most:,} characters wait to be spoken; send slower")
            message = await self._message(timeout_s)
        self._take(buffer.flush())
        self._pieces.put_nowait(None)
        while (await self._socket.receive())["type"] != "websocket.disconnect":
            pass
        if not self._pieces.empty() or self._waiting:
            raise WebSocketDisconnect

    async def _message(self, timeout_s: float) -> TextMessage:
        try:
            async with asyncio.timeout(timeout_s):
                text = await self._socket.receive_text()
        except TimeoutError:
            raise InvalidRequest(
                f"no text came for {timeout_s:g} s; send some, or ask for more time with inactivity_timeout",
                code="input_timeout_exceeded",
            ) from None
        except KeyError:
            raise InvalidRequest("send JSON as text messages") from None
        try:
            return TextMessage.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "message"
            raise InvalidRequest(f"{field}: {first['msg']}", field) from None

    def _take(self, pieces: list[str]) -> None:
        for piece in pieces:
            self._waiting += len(piece)
            self._pieces.put_nowait(piece)

    async def _speak(self) -> None:
        first = await self._pieces.get()
        if first is not None:
            began = time.perf_counter()
            chosen, model = self._chosen, self._who.info.model
            stream = self._stream = AudioStream(
                self._chunks(first),
                chosen.codec,
                model,
                self._context.metrics,
                began,
                chosen.sample_rate,
                chosen.bit_rate,
                self._charge,
            )
            await stream.open()
            async with aclosing(stream.audio()) as spoken:
                async for data in spoken:
                    await self._socket.send_json(audio(data))
        await self._socket.send_json(final())
        await self._socket.close(1000)

    async def _chunks(self, piece: str | None) -> AsyncGenerator[SpeechChunk, None]:
        """All pieces one after the other, by one revision of the model; only the first may be refused as too many."""
        revision = (await self._context.info()).revision
        while piece is not None:
            said = self._who.request(piece, self._settings, self._seed, heard_in_s=self._unheard_s(), revision=revision)
            own_speed = self._settings.speed if self._settings else None
            request = await in_profile(said, None, own_speed, self._context)
            async with aclosing(self._context.engine.stream(request)) as chunks:
                async for chunk in chunks:
                    revision = chunk.revision or revision
                    now = time.perf_counter()
                    self._runs_out = max(self._runs_out or now, now) + chunk.seconds
                    yield chunk
            self._waiting -= len(piece)
            idle = time.perf_counter()
            piece = await self._pieces.get()
            if self._stream is not None:
                self._stream.usage.engine_s -= time.perf_counter() - idle  # the client's time, not the engine's

    def _unheard_s(self) -> float | None:
        """Seconds of audio that the listener, who plays what comes at once, has still to hear; None before any came."""
        return None if self._runs_out is None else max(0.0, self._runs_out - time.perf_counter())
