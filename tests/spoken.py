"""Speech to measure: espeak's, with pauses, and with noise at a known level."""

from __future__ import annotations

import asyncio
from functools import cache

import numpy as np

from serving.audio.pcm import Pcm
from serving.engines.base import SpeechRequest, Voice
from serving.engines.espeak import EspeakEngine

RATE = 22050
TEXT = "The quick brown fox jumps over the lazy dog. Peter thought about it for a while, and then he said nothing."
PAUSE = np.zeros(RATE // 2, np.float32)


@cache
def spoken(preset: str = "m1") -> Pcm:
    """About 6 s of speech with half a second of silence before and after it, peak 0.3, at 22.05 kHz."""

    async def speak() -> Pcm:
        engine = EspeakEngine()
        chunks = [each.pcm async for each in engine.stream(SpeechRequest(TEXT, Voice("v", preset=preset), "en"))]
        await engine.close()
        return np.concatenate(chunks)

    pcm = asyncio.run(speak())
    speech: Pcm = np.concatenate([PAUSE, pcm * np.float32(0.3 / np.abs(pcm).max()), PAUSE])
    speech.flags.writeable = False
    return speech


def speech_power(speech: Pcm) -> float:
    """Mean power of what is not silent in clean speech."""
    smooth = np.convolve(np.square(speech, dtype=np.float64), np.ones(400) / 400, "same")
    return float(np.mean(np.square(speech[smooth > 1e-5], dtype=np.float64)))


def noisy(speech: Pcm, snr_db: float, seed: int = 0) -> Pcm:
    """Clean ``speech`` with white noise so far below it."""
    noise = np.random.default_rng(seed).normal(size=len(speech))
    mixed: Pcm = (speech + noise * np.sqrt(speech_power(speech) / 10 ** (snr_db / 10))).astype(np.float32)
    return mixed
