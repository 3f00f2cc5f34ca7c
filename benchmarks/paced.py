"""A server whose engine costs no CPU: sound that is there already, handed out at a pace. For benchmarks only.

    BENCHMARK_PACE=4 RAY_AUTH_MODE=disabled python -m benchmarks.paced serve --data D --port P

Everything else is `kubevoice serve`: proxy, ingress, speech replica and the calls between them. So what is measured on
few cores is the path and not espeak-ng, and capacity is that of a GPU's replica: slots times pace, by seconds of audio.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from unittest.mock import patch

import numpy as np
from ray import serve

from benchmarks.stamps import stamped
from serving.cli import main as kubevoice
from serving.deployments.speech import SpeechReplica
from serving.engines.base import EngineInfo, EngineStats, SpeechChunk, SpeechEngine, SpeechRequest, Voice
from serving.engines.pace import estimated_s
from serving.settings import Settings

PACE = "BENCHMARK_PACE"
"""Variable: seconds of audio that a stream gets in a second; 0 hands everything out at once."""

SAMPLE_RATE = 24000
CHUNK_S = 0.5
SOUND = (0.3 * np.sin(np.arange(int(CHUNK_S * SAMPLE_RATE)) * 2 * np.pi * 220 / SAMPLE_RATE)).astype(np.float32)


class PacedEngine(SpeechEngine):
    """Speaks a tone for as long as the text would take; the first chunk comes after one chunk's time.

    Every chunk says when it was made (`benchmarks.stamps`).
    """

    def __init__(self, pace: float) -> None:
        self._chunk_takes_s = CHUNK_S / pace if pace else 0.0
        self._active = 0

    async def info(self) -> EngineInfo:
        return EngineInfo("paced", "paced", "0", SAMPLE_RATE, ("en",), ("tone",), clones=False, device="none")

    async def stream(self, request: SpeechRequest) -> AsyncGenerator[SpeechChunk, None]:
        self._active += 1
        try:
            began = time.monotonic()
            for index in range(chunks_of(request.text)):
                await asyncio.sleep(began + (index + 1) * self._chunk_takes_s - time.monotonic())
                yield SpeechChunk(stamped(SOUND), SAMPLE_RATE)
        finally:
            self._active -= 1

    async def prepare(self, voice: Voice) -> None:
        """Nothing to compute."""

    async def check(self) -> None:
        """Always ready."""

    def stats(self) -> EngineStats:
        return EngineStats(active=self._active)

    async def close(self) -> None:
        """Nothing to free."""


class PacedReplica(SpeechReplica):
    """The real replica around this engine."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits it
        pace = float(os.environ.get(PACE, "4"))
        with patch("serving.deployments.speech.open_engine", lambda *_: PacedEngine(pace)):
            await super().__init__(settings)


def chunks_of(text: str) -> int:
    """Chunks of ``CHUNK_S`` seconds that this engine makes of a text in one piece."""
    return max(1, round(estimated_s(text, "en", 1.0) / CHUNK_S))


def main() -> None:
    """``kubevoice`` with this engine in espeak-ng's place. Ray has been imported: its environment is the caller's."""
    from benchmarks.paced import PacedReplica  # by its own name, not __main__'s: replicas import it

    with patch("serving.app.Speech", serve.deployment(PacedReplica)):
        kubevoice()


if __name__ == "__main__":
    main()
