"""A deployment handle whose calls follow a script, since no real replica dies on cue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
from ray.serve.exceptions import BackPressureError

from serving.engines.base import SpeechChunk, SpeechRequest, Voice

TEXT = " ".join(f"This is sentence number {index}." for index in range(60))


def request(text: str = TEXT, seed: int | None = 5) -> SpeechRequest:
    return SpeechRequest(text=text, voice=Voice("f1"), language="en", seed=seed)


class ScriptedCall:
    """Stands where Serve's response generator stands: yields chunks, then fails or ends, and remembers a cancel."""

    def __init__(self, *script: SpeechChunk | Exception) -> None:
        self.script: Iterator[SpeechChunk | Exception] = iter(script)
        self.cancelled = False
        self.refused: Exception | None = None

    def __aiter__(self) -> ScriptedCall:
        return self

    async def __anext__(self) -> SpeechChunk:
        step = next(self.script, None)
        if step is None:
            raise StopAsyncIteration
        if isinstance(step, Exception):
            self.refused = step
            raise step
        return step

    def cancel(self) -> None:
        if isinstance(self.refused, BackPressureError):
            raise self.refused  # as Serve does
        self.cancelled = True


class ScriptedHandle:
    """A deployment handle whose calls follow a script, since no real replica dies on cue."""

    def __init__(self, *calls: ScriptedCall) -> None:
        self.calls = list(calls)
        self.sent: list[str] = []
        self.heard_in_s: list[float | None] = []
        self.revisions: list[str | None] = []
        self.stream = self

    def options(self, **_: object) -> ScriptedHandle:
        return self

    def remote(self, piece: SpeechRequest, _token: str | None) -> ScriptedCall:
        self.sent.append(piece.text)
        self.heard_in_s.append(piece.heard_in_s)
        self.revisions.append(piece.revision)
        return self.calls[len(self.sent) - 1]


def chunk(seconds: float = 0.0005) -> SpeechChunk:
    return SpeechChunk(np.full(round(24000 * seconds), 0.5, np.float32), 24000)


class HeldCall(ScriptedCall):
    """A call whose first chunk comes when it is let go."""

    def __init__(self, *script: SpeechChunk | Exception) -> None:
        super().__init__(*script)
        self.go = asyncio.Event()

    async def __anext__(self) -> SpeechChunk:
        await self.go.wait()
        return await super().__anext__()
