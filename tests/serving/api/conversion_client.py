"""Requests to convert recordings and speech, and what their answers hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import numpy as np
from starlette.testclient import TestClient

from serving.audio.wav import wav_bytes
from tests.audio_measure import Pcm, tone

ROUTE = "/v1/audio/conversions"
RATE = 24000
SOUND = tone(440, 6.0, RATE)
WAV = wav_bytes(SOUND, RATE)


def convert(client: TestClient, audio: bytes = WAV, **fields: object) -> Any:
    data = {"model": "Ada", "response_format": "wav", **fields}
    return client.post(ROUTE, data=data, files={"file": ("a.wav", audio)})


def stream(client: TestClient, audio: bytes | Iterator[bytes], kind: str = "audio/wav", **fields: object) -> Any:
    query = urlencode({"model": "Ada", "response_format": "wav", **fields})
    return client.post(f"{ROUTE}?{query}", content=audio, headers={"Content-Type": kind})


def samples(data: bytes) -> Pcm:
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768.0


def error_of(response: Any) -> tuple[int, str | None]:
    return response.status_code, response.json()["error"]["param"]


def spoken(**fields: object) -> dict[str, object]:
    conversion = {"model": "Ada", "rms_mix_rate": 1, **fields}
    body = {"model": "auto", "input": "Hello.", "voice": "one", "response_format": "pcm", "seed": 1}
    return {**body, "conversion": conversion}
