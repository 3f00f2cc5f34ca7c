"""``POST /elevenlabs/v1/speech-to-speech/{voice_id}``."""

from __future__ import annotations

import numpy as np
import pytest
from starlette.testclient import TestClient

from serving.audio.pcm import to_int16
from serving.audio.wav import wav_bytes
from tests.audio_measure import dominant_frequency, rms, tone
from tests.serving.api.scripted_converter import GAIN

ROUTE = "/elevenlabs/v1/speech-to-speech/Ada"
RATE = 24000
SOUND = tone(440, 1.5, RATE)
WAV = wav_bytes(SOUND, RATE)
PCM = {"output_format": "pcm_16000"}


@pytest.mark.parametrize("path", [ROUTE, f"{ROUTE}/stream"])
def test_a_recording_comes_back_converted_at_the_rate_asked_for(scripted: TestClient, path: str) -> None:
    answer = scripted.post(path, params=PCM, files={"audio": ("a.wav", WAV)}, data={"seed": "3"})
    assert answer.status_code == 200, answer.text
    pcm = np.frombuffer(answer.content, "<i2") / 32768
    assert len(pcm) == 1.5 * 16000
    assert dominant_frequency(pcm.astype(np.float32), 16000) == pytest.approx(440, abs=3)
    assert GAIN * rms(SOUND) < rms(pcm.astype(np.float32)) < 0.9 * rms(SOUND)  # a quarter of the voice's own loudness
    assert answer.headers["x-kubevoice-engine"] == "rvc"


@pytest.mark.parametrize("law", ["ulaw_8000", "alaw_8000"])
def test_telephony_has_a_byte_a_sample(scripted: TestClient, law: str) -> None:
    answer = scripted.post(ROUTE, params={"output_format": law}, files={"audio": ("a.wav", WAV)})
    assert answer.status_code == 200, answer.text
    assert len(answer.content) == 1.5 * 8000


def test_raw_samples_need_no_header(scripted: TestClient) -> None:
    raw = to_int16(tone(440, 1.5, 16000)).astype("<i2").tobytes()
    form = {"file_format": "pcm_s16le_16"}
    answer = scripted.post(ROUTE, params=PCM, files={"audio": ("a.raw", raw)}, data=form)
    assert len(answer.content) == len(raw)


@pytest.mark.parametrize(
    ("path", "files", "data", "param"),
    [
        (ROUTE.replace("Ada", "Nobody"), {"audio": ("a.wav", WAV)}, {}, "voice_id"),
        (ROUTE.replace("Ada", "a" * 129), {"audio": ("a.wav", WAV)}, {}, "voice_id"),
        (ROUTE, {"audio": ("a.wav", b"no audio at all")}, {}, "audio"),
        (ROUTE, {"audio": ("a.wav", WAV[:-999])}, {}, "audio"),
        (ROUTE, {"file": ("a.wav", WAV)}, {}, "file"),
    ],
)
def test_errors_name_the_field(
    scripted: TestClient, path: str, files: dict[str, tuple[str, bytes]], data: dict[str, str], param: str
) -> None:
    answer = scripted.post(path, files=files, data=data)
    assert answer.status_code in (400, 404)
    assert answer.json()["detail"]["param"] == param


def test_a_form_without_a_recording_is_refused(scripted: TestClient) -> None:
    answer = scripted.post(ROUTE, files={"x": ("x", b"")})
    assert answer.status_code == 400


def test_noise_that_is_not_removed_is_said(scripted: TestClient) -> None:
    answer = scripted.post(ROUTE, files={"audio": ("a.wav", WAV)}, data={"remove_background_noise": "true"})
    assert "remove_background_noise" in answer.headers["x-kubevoice-warning"]
