"""What tests ask of an XTTS engine, and how they wait for it."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np

from serving.engines.base import Pcm, Sampling, SpeechChunk, SpeechRequest, Voice
from serving.engines.xtts import XttsEngine

ADA = Voice("ada", preset="Ada")
GREEDY = Sampling(top_k=1)
SENTENCE = "The quick brown fox jumps over it."
LONG = f"{SENTENCE} Then it sleeps for a while. " * 2


def request(text: str = SENTENCE, **fields: Any) -> SpeechRequest:
    return SpeechRequest(**{"text": text, "voice": ADA, "language": "en", "seed": 1, **fields})


async def speak(engine: XttsEngine, asked: SpeechRequest) -> list[SpeechChunk]:
    return [chunk async for chunk in engine.stream(asked)]


async def audio(engine: XttsEngine, asked: SpeechRequest) -> Pcm:
    return np.concatenate([chunk.pcm for chunk in await speak(engine, asked)])


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that the engine's thread does."""
    while not condition():  # noqa: ASYNC110 it tells nobody
        await asyncio.sleep(0.01)


async def idle(engine: XttsEngine) -> None:
    """Wait until the engine has forgotten what has ended."""
    await until(lambda: not engine._scheduler.requests)


def difference(ours: Pcm, theirs: Pcm) -> float:
    """The largest, relative to the loudest sample."""
    assert len(ours) == len(theirs)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
