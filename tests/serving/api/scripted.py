"""A speech service that plays a script, for what no real engine does on demand: fail, hang, wait for a signal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from serving.engines.base import EngineInfo, PendingRevision, SpeechChunk, SpeechRequest, SpeechService, Voice
from serving.errors import Overloaded
from tests.audio_measure import noise

RATE = 24000


def chunk(seconds: float = 0.5) -> SpeechChunk:
    """Noise that counts as 5 tokens in and 10 out."""
    return SpeechChunk(noise(seconds, RATE), RATE, input_tokens=5, output_tokens=10)


class ScriptedSpeech(SpeechService):
    """Each step of ``script`` is a chunk to give, an event to wait for, or an error to raise."""

    def __init__(self, *script: SpeechChunk | asyncio.Event | Exception) -> None:
        self.script = script
        self.given = 0
        self.running = 0
        self.idle = asyncio.Event()
        self.prepare_error: BaseException | None = None
        self.check_error: Exception | None = None
        self.hangs = self.sleeps = False
        self.refused: Overloaded | None = None
        self.asked = 0
        self.clones = True
        self.revision = "r1"
        self.presets: tuple[str, ...] = ("one", "two")
        self.pending: PendingRevision | None = None
        self.prepared: list[Voice] = []
        self.requests: list[SpeechRequest] = []

    @property
    def asleep(self) -> bool:
        return self.sleeps

    def refusal(self) -> Overloaded | None:
        return self.refused

    async def info(self) -> EngineInfo:
        self.asked += 1
        return EngineInfo(
            name="scripted",
            model="scripted",
            revision=self.revision,
            sample_rate=RATE,
            languages=("en", "de"),
            presets=self.presets,
            clones=self.clones,
            device="cpu",
            pending=self.pending,
        )

    async def stream(self, request: SpeechRequest) -> AsyncGenerator[SpeechChunk, None]:
        self.requests.append(request)
        self.running += 1
        self.idle.clear()
        try:
            for step in self.script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    self.given += 1
                    yield step
        finally:
            self.running -= 1
            self.idle.set()

    async def prepare(self, voice: Voice) -> None:
        self.prepared.append(voice)
        if self.prepare_error is not None:
            raise self.prepare_error

    async def check(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.check_error is not None:
            raise self.check_error
