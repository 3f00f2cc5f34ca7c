"""One item of a job as audio, sentence by sentence, so that every sentence's length is known to the sample."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from serving.audio.encode import FORMATS, OUTPUT_RATE, Encoder
from serving.audio.pcm import Pcm
from serving.audio.resample import resample
from serving.audio.wav import wav_bytes
from serving.engines.base import Sampling, SpeechRequest, SpeechService, Voice
from serving.engines.text import split_text
from serving.errors import EngineError, InvalidRequest, TryLater
from serving.selection import resolve_voice
from serving.settings_groups import VoiceSettings
from serving.store.job_queue import Claimed
from serving.store.voices import VoiceStore

T = TypeVar("T")

SENTENCE_CHARS = 400
"""Longest piece of text in one call: about half a minute of audio."""

PATIENCE_S = 600.0
"""Nobody waits to hear a job: the engine decodes it when those who do have audio for so long, and never refuses it."""

SEED_STRIDE = 4096
"""Between two sentences of a job, whose engine may count up from its seed."""

WAIT_MAX_S = 30.0

JOINED_FORMAT = "wav"
"""What the items of one text are kept as, without loss: they are encoded when they are joined."""


@dataclass(frozen=True)
class Spoken:
    """``pcm`` float32 [samples] at OUTPUT_RATE; ``sentences`` are (text, samples) and add up to it."""

    pcm: Pcm
    sentences: tuple[tuple[str, int], ...]
    input_tokens: int
    output_tokens: int


async def speak(item: Claimed, engine: SpeechService, settings: VoiceSettings, voices: VoiceStore) -> Spoken:
    """Speak ``item``; waits while the engine is busy or starts.

    Raises what the engine raises, NotFound for a voice that is gone, InvalidRequest if there is nothing to speak.
    """
    info = await patiently(engine.info)
    name = item.voice or item.options.voice
    voice = await asyncio.to_thread(
        resolve_voice, name, info=info, settings=settings, voices=voices, tenant=item.tenant
    )
    parts: list[Pcm] = []
    sentences: list[tuple[str, int]] = []
    tokens = [0, 0]
    for index, sentence in enumerate(speakable(item.text)):
        request = _request(item, sentence, index, voice, settings)
        pcm, used = await patiently(functools.partial(_sentence, engine, request))
        parts.append(pcm)
        sentences.append((sentence, len(pcm)))
        tokens = [before + more for before, more in zip(tokens, used, strict=True)]
    if not any(map(len, parts)):
        raise InvalidRequest("the text has nothing that can be spoken", "text")
    return Spoken(np.concatenate(parts), tuple(sentences), tokens[0], tokens[1])


def speakable(text: str) -> list[str]:
    """The sentences of ``text`` that have something to say."""
    return [each for each in split_text(text, SENTENCE_CHARS) if any(map(str.isalnum, each))]


def encoded(spoken: Spoken, audio_format: str) -> bytes:
    """A whole file in ``audio_format``."""
    if audio_format == JOINED_FORMAT:
        return wav_bytes(spoken.pcm, OUTPUT_RATE)
    encoder = Encoder(audio_format)
    try:
        return encoder.encode(spoken.pcm, OUTPUT_RATE) + encoder.finish()
    finally:
        encoder.close()


def kept_format(item: Claimed) -> str:
    """What the file of ``item`` is."""
    return JOINED_FORMAT if item.kind == "text" else FORMATS[item.options.response_format].name


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """What ``ask`` gives, once the engine takes it: it is asked again while it says to try later."""
    wait_s = 1.0
    while True:
        try:
            return await ask()
        except TryLater as error:
            wait_s = min(WAIT_MAX_S, max(2 * wait_s, error.retry_after_s))
            await asyncio.sleep(wait_s)


async def _sentence(engine: SpeechService, request: SpeechRequest) -> tuple[Pcm, tuple[int, int]]:
    """The samples of one sentence at OUTPUT_RATE, and its tokens."""
    chunks = engine.stream(request)
    parts: list[Pcm] = []
    rate, input_tokens, output_tokens = OUTPUT_RATE, 0, 0
    try:
        async for chunk in chunks:
            parts.append(chunk.pcm)
            rate = chunk.sample_rate
            input_tokens += chunk.input_tokens
            output_tokens += chunk.output_tokens
    finally:
        await chunks.aclose()
    whole = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not np.isfinite(whole).all():
        raise EngineError("the engine produced samples that are not numbers; check the model")
    return await asyncio.to_thread(resample, whole, rate, OUTPUT_RATE), (input_tokens, output_tokens)


def _request(item: Claimed, sentence: str, index: int, voice: Voice, settings: VoiceSettings) -> SpeechRequest:
    options = item.options
    return SpeechRequest(
        text=sentence,
        voice=voice,
        language=item.language or options.language or voice.language or settings.language,
        speed=options.speed,
        # The same however often an item is begun: (item, sentence) says which of the job's seeds it takes.
        seed=(options.seed + item.number * 2**20 + index * SEED_STRIDE) % 2**32,
        sampling=Sampling(options.temperature, options.top_k, options.top_p, options.repetition_penalty),
        heard_in_s=PATIENCE_S,
        text_normalization=item.text_normalization or options.text_normalization,
    )
