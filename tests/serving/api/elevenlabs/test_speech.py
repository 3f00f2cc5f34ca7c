"""``POST /elevenlabs/v1/text-to-speech/{voice_id}``."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from starlette.testclient import TestClient

from serving.api.elevenlabs.formats import OUTPUT_FORMATS
from serving.engines.base import SpeechChunk
from serving.errors import Overloaded
from tests.audio_measure import decode_any, dominant_frequency, rms, tone
from tests.serving.api.scripted import ScriptedSpeech

ROUTE = "/elevenlabs/v1/text-to-speech/one"
SAID = tone(440, 1.0, 24000)


@pytest.mark.parametrize("name", [name for name in OUTPUT_FORMATS if name.startswith(("mp3", "opus", "wav"))])
def test_files_have_the_rate_and_length_they_were_asked_for(
    scripted: TestClient, engine: ScriptedSpeech, name: str
) -> None:
    engine.script = (SpeechChunk(SAID, 24000),)
    answer = scripted.post(f"{ROUTE}/stream", params={"output_format": name}, json={"text": "Hello."})
    pcm, rate = decode_any(answer.content)
    assert rate == OUTPUT_FORMATS[name].sample_rate
    assert len(pcm) / rate == pytest.approx(1.0, abs=0.08)
    assert dominant_frequency(pcm, rate) == pytest.approx(440, abs=3)
    assert rms(pcm) == pytest.approx(rms(SAID), rel=0.1)


def test_the_bit_rate_is_the_one_that_was_asked_for(scripted: TestClient) -> None:
    sizes = {}
    for kbits in (32, 64, 128, 192):
        params = {"output_format": f"mp3_44100_{kbits}"}
        data = scripted.post(ROUTE, params=params, json={"text": "Hello."}).content
        sizes[kbits] = len(data)
        with av.open(io.BytesIO(data)) as container:
            assert container.streams.audio[0].codec_context.bit_rate == kbits * 1000
    assert sizes[32] * 5 < sizes[192]


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 32000, 44100, 48000])
def test_samples_come_without_a_header_and_say_their_rate(scripted: TestClient, rate: int) -> None:
    answer = scripted.post(ROUTE, params={"output_format": f"pcm_{rate}"}, json={"text": "Hello."})
    assert answer.headers["content-type"] == f"audio/pcm;rate={rate}"
    assert len(answer.content) == pytest.approx(2 * rate, abs=4)


@pytest.mark.parametrize(("name", "muxer"), [("ulaw_8000", "mulaw"), ("alaw_8000", "alaw")])
def test_telephone_audio_is_g711(scripted: TestClient, name: str, muxer: str) -> None:
    data = scripted.post(ROUTE, params={"output_format": name}, json={"text": "Hello."}).content
    plain = scripted.post(ROUTE, params={"output_format": "pcm_8000"}, json={"text": "Hello."}).content
    samples = np.frombuffer(plain, "<i2") / 32768
    with av.open(io.BytesIO(data), "r", format=muxer, options={"sample_rate": "8000"}) as container:
        decoded = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)]) / 32768
    assert len(data) == len(samples)  # one byte each
    assert np.abs(decoded - samples).max() < 0.04  # the coarsest step of 8 bits


def test_the_default_is_mp3_and_says_what_spoke(scripted: TestClient) -> None:
    answer = scripted.post(ROUTE, json={"text": "Hello."})
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["x-kubevoice-model"] == "scripted@r1"
    assert answer.headers["x-request-id"].startswith("req_")


def test_the_model_of_the_header_is_the_one_that_spoke(scripted: TestClient, engine: ScriptedSpeech) -> None:
    engine.script = (SpeechChunk(SAID, 24000, revision="r2"), SpeechChunk(SAID, 24000))
    assert scripted.post(ROUTE, json={"text": "Hello."}).headers["x-kubevoice-model"] == "scripted@r2"
    body = {"model": "tts-1", "voice": "one", "input": "Hello.", "response_format": "pcm"}
    assert scripted.post("/v1/audio/speech", json=body).headers["x-kubevoice-model"] == "scripted@r2"


def test_voice_settings_become_the_engines_sampling(scripted: TestClient, engine: ScriptedSpeech) -> None:
    settings = {"stability": 0.5, "similarity_boost": 0.75, "speed": 1.2}
    scripted.post(ROUTE, json={"text": "Hi.", "voice_settings": settings, "seed": 7, "language_code": "de"})
    request = engine.requests[-1]
    assert (request.speed, request.seed, request.language) == (1.2, 7, "de")
    assert request.sampling.temperature == 0.75
    assert request.sampling.top_p == pytest.approx(0.85)


def test_without_settings_the_sampling_is_the_models_own(scripted: TestClient, engine: ScriptedSpeech) -> None:
    scripted.post(ROUTE, json={"text": "Hi.", "model_id": "eleven_multilingual_v2"})
    assert engine.requests[-1].sampling.temperature is engine.requests[-1].sampling.top_p is None


def test_what_is_not_done_is_said(scripted: TestClient) -> None:
    body = {"text": "Hi.", "previous_text": "Well.", "voice_settings": {"style": 0.5}}
    warning = scripted.post(ROUTE, json=body).headers["x-kubevoice-warning"]
    assert "previous_text is not followed" in warning
    assert "voice_settings.style is not followed" in warning


def test_fields_of_newer_clients_are_no_error(scripted: TestClient) -> None:
    assert scripted.post(ROUTE, json={"text": "Hi.", "hcaptcha_token": "x"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "params", "body", "status", "code", "param"),
    [
        ("nobody", {}, {"text": "Hi."}, 404, "voice_not_found", "voice_id"),
        ("one", {}, {"text": "Hi.", "model_id": "other"}, 404, "model_not_found", "model_id"),
        ("one", {"output_format": "mp3_1_1"}, {"text": "Hi."}, 400, "invalid_value", "output_format"),
        ("one", {}, {"text": " "}, 400, "invalid_value", "text"),
        ("one", {}, {"text": "x" * 5000}, 413, "payload_too_large", "text"),
        ("one", {}, {"text": "Hi.", "language_code": "xx"}, 400, "invalid_value", "language_code"),
    ],
)
def test_errors_have_elevenlabs_shape_and_name_the_field(
    scripted: TestClient,
    path: str,
    params: dict[str, str],
    body: dict[str, str],
    status: int,
    code: str,
    param: str,
) -> None:
    answer = scripted.post(f"/elevenlabs/v1/text-to-speech/{path}", params=params, json=body)
    assert answer.status_code == status
    detail = answer.json()["detail"]
    assert (detail["status"], detail["param"]) == (code, param)
    assert detail["message"].startswith((param, "there is no voice", "model", "language"))


def test_a_body_that_is_not_valid_is_422_with_the_fields(scripted: TestClient) -> None:
    answer = scripted.post(ROUTE, json={"voice_settings": {"stability": 2}})
    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["detail"]] == [
        ["body", "text"],
        ["body", "voice_settings", "stability"],
    ]
    assert "2" not in str([error.get("input") for error in answer.json()["detail"]])


def test_a_busy_server_says_when_to_come_back(scripted: TestClient, engine: ScriptedSpeech) -> None:
    engine.script = (Overloaded("all slots are taken", 3),)
    answer = scripted.post(ROUTE, json={"text": "Hi."})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert answer.json() == {"detail": {"status": "overloaded", "message": "all slots are taken"}}


def test_a_route_that_is_not_there_answers_in_this_shape_too(scripted: TestClient) -> None:
    assert scripted.get("/elevenlabs/v1/nothing").json()["detail"]["status"] == "not_found"
