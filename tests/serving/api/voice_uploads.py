"""Uploads of a voice."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from serving.api import build_app
from serving.audio.wav import wav_bytes
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.store.voices import VoiceStore
from tests.audio_measure import tone
from tests.serving.api.scripted import ScriptedSpeech

RATE = 16000
REFERENCE = wav_bytes(tone(220, 2.0, RATE), RATE)


def upload(
    client: TestClient, name: str = "Ada", audio: bytes = REFERENCE, filename: str = "ada.wav", **fields: Any
) -> Any:
    return client.post(
        "/v1/audio/voices", data={"name": name, **fields}, files={"audio_sample": (filename, audio, "audio/wav")}
    )


def scripted(engine: ScriptedSpeech, store: VoiceStore, settings: Settings, *, raise_bugs: bool = True) -> TestClient:
    return TestClient(build_app(engine, store, settings, LocalMetrics()), raise_server_exceptions=raise_bugs)


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


FORM = "multipart/form-data; boundary=b"
FILE = '; filename="a.wav"'
NAME = part("name", b"Ada")
