"""The embedded engine: speech from espeak-ng, sentence by sentence."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from serving import __version__
from serving.audio.tempo import Tempo
from serving.engines.base import EngineInfo, EngineStats, Pcm, SpeechChunk, SpeechEngine, SpeechRequest, Voice
from serving.engines.espeak import library
from serving.engines.espeak.library import RATE_MAX, RATE_MIN, RATE_NORMAL, SAMPLE_RATE
from serving.engines.espeak.worker import EspeakProcess
from serving.engines.spoken import spoken_text
from serving.engines.text import split_text
from serving.errors import InvalidRequest, Unavailable

SENTENCE_CHARS = 400
CHUNK_SECONDS = 1.0
TOKEN_SECONDS = 1024 / 22050
"""An output token is as long as one of XTTS, so that usage compares; an input token is a character."""

SILENCE = 1e-4
"""Below this level a sentence had nothing to say ("...")."""

LANGUAGE_CODES = {"en": "en-us", "zh": "cmn", "zh-cn": "cmn", "fr": "fr-fr"}
"""Codes that clients send and espeak-ng spells otherwise."""


class EspeakEngine(SpeechEngine):
    """espeak-ng behind the common interface. It does not clone: a reference voice is spoken by a preset."""

    def __init__(self) -> None:
        self._languages = library.languages()
        self._variants = library.variants()
        self._process = EspeakProcess()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="espeak")
        self._waiting: dict[int, float] = {}
        self._tickets = itertools.count()
        self._active = 0

    async def info(self) -> EngineInfo:
        return EngineInfo(
            name="espeak",
            model="espeak",
            revision=__version__,
            sample_rate=SAMPLE_RATE,
            languages=tuple(sorted({*self._languages, *LANGUAGE_CODES})),
            presets=self._variants,
            clones=False,
            device="cpu",
            samples=False,
        )

    async def stream(self, request: SpeechRequest) -> AsyncGenerator[SpeechChunk, None]:
        voice = self._voice(request.language)
        variant = request.voice.preset if request.voice.preset in self._variants else self._variants[0]
        rate = round(RATE_NORMAL * request.speed / _stretch(request.speed))
        tempo = Tempo(_stretch(request.speed), SAMPLE_RATE)
        self._active += 1
        try:
            text = await asyncio.to_thread(spoken_text, request)
            read = 0  # characters that no chunk has told of: the stretcher may hold a short sentence back
            for sentence in split_text(text.replace("\0", " "), SENTENCE_CHARS):
                # One sentence at a time: a slow reader holds one sentence of audio, and others get their turn between.
                pcm = await self._on_thread(partial(self._speak, tempo, sentence, voice, variant, rate))
                read += len(sentence)
                for chunk in self._chunks(pcm, read):
                    yield chunk
                    read = 0
            for chunk in self._chunks(await self._on_thread(tempo.flush), read):
                yield chunk
        finally:
            self._active -= 1

    async def prepare(self, voice: Voice) -> None:
        """Nothing to compute: espeak-ng does not clone."""

    async def check(self) -> None:
        work = partial(self._process.synthesise, "ready", self._voice("en"), self._variants[0], RATE_NORMAL)
        if not len(await self._on_thread(work)):
            raise Unavailable("espeak-ng gave no audio for its self-test")

    def stats(self) -> EngineStats:
        now = time.monotonic()
        oldest = min(self._waiting.values(), default=now)
        return EngineStats(active=self._active, queued=len(self._waiting), queue_age_s=now - oldest)

    async def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._process.close()

    def _voice(self, code: str) -> str:
        wanted = code.lower()
        for candidate in (wanted, wanted.split("-")[0]):
            known = LANGUAGE_CODES.get(candidate, candidate)
            if known in self._languages:
                return self._languages[known]
        raise InvalidRequest(f"language {code!r} is not spoken by espeak-ng; GET /v1/models lists them", "language")

    def _speak(self, tempo: Tempo, text: str, voice: str, variant: str, rate: int) -> Pcm:
        return tempo.push(self._process.synthesise(text, voice, variant, rate))

    async def _on_thread(self, work: Callable[[], Pcm]) -> Pcm:
        ticket = next(self._tickets)
        self._waiting[ticket] = time.monotonic()

        def begin() -> Pcm:
            self._waiting.pop(ticket, None)
            return work()

        try:
            job = asyncio.get_running_loop().run_in_executor(self._thread, begin)
        except RuntimeError:
            self._waiting.pop(ticket)
            raise Unavailable("espeak is closed") from None
        try:
            return await job
        finally:
            self._waiting.pop(ticket, None)

    def _chunks(self, pcm: Pcm, characters: int) -> list[SpeechChunk]:
        if not np.any(np.abs(pcm) > SILENCE):
            return []
        size = int(CHUNK_SECONDS * SAMPLE_RATE)
        pieces = [pcm[start : start + size] for start in range(0, len(pcm), size)]
        return [
            SpeechChunk(
                np.ascontiguousarray(piece),
                SAMPLE_RATE,
                input_tokens=characters if index == 0 else 0,
                output_tokens=math.ceil(len(piece) / SAMPLE_RATE / TOKEN_SECONDS),
            )
            for index, piece in enumerate(pieces)
        ]


def _stretch(speed: float) -> float:
    """What is left of ``speed`` for the time stretcher where espeak-ng's own rates end; 1.0 in between."""
    return speed / min(max(speed, RATE_MIN / RATE_NORMAL), RATE_MAX / RATE_NORMAL)
