"""``conversion`` of ``POST /v1/audio/speech``: speech in another voice."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.api import build_app
from serving.engines.base import SpeechChunk
from serving.errors import EngineError
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.store.voices import VoiceStore
from tests.audio_measure import noise, rms
from tests.serving.api.asgi import speech, until
from tests.serving.api.conversion_client import RATE, convert, error_of, samples, spoken
from tests.serving.api.scripted import ScriptedSpeech, chunk
from tests.serving.api.scripted_converter import GAIN, ScriptedConverter


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app)


def test_speech_is_converted_and_keeps_its_usage(client: TestClient, app: FastAPI) -> None:
    plain = client.post("/v1/audio/speech", json={**spoken(), "conversion": None})
    response = client.post("/v1/audio/speech", json=spoken())

    assert response.status_code == 200, response.text
    model = app.state.context.conversion_models.get("default", "Ada")
    assert response.headers["x-kubevoice-conversion"] == model.id
    assert response.headers["x-kubevoice-sample-rate"] == "24000"
    assert response.headers["x-kubevoice-model"] == plain.headers["x-kubevoice-model"]
    assert "x-kubevoice-conversion" not in plain.headers
    assert len(response.content) == len(plain.content) == 2 * 5 * RATE
    assert rms(samples(response.content)) == pytest.approx(GAIN * 0.58 * rms(samples(plain.content)), rel=0.5)

    events = client.post("/v1/audio/speech", json={**spoken(), "stream_format": "sse"}).text.strip().split("\n\n")
    usage = json.loads(events[-1].removeprefix("data: "))
    assert usage["usage"] == {"input_tokens": 25, "output_tokens": 50, "total_tokens": 75}
    assert usage["finish_reason"] == "stop"


def test_speech_can_have_the_models_own_rate(client: TestClient) -> None:
    response = client.post("/v1/audio/speech", json=spoken(sample_rate=0))
    assert response.headers["content-type"] == "audio/pcm;rate=40000"
    assert len(response.content) == 2 * 5 * 40000


def test_converted_speech_names_the_model_that_spoke(client: TestClient, engine: ScriptedSpeech) -> None:
    engine.script = (replace(chunk(), revision="r2"), chunk())
    assert client.post("/v1/audio/speech", json=spoken()).headers["x-kubevoice-model"] == "scripted@r2"


def test_sentences_that_were_cut_are_still_counted(client: TestClient, engine: ScriptedSpeech) -> None:
    cut = SpeechChunk(noise(0.1, RATE), RATE, finish_reason="length")
    engine.script = (cut, cut, cut)
    client.post("/v1/audio/speech", json=spoken())
    assert 'kubevoice_cut_sentences_total{model="scripted"} 3.0' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"pitch": 25}, 400, "conversion.pitch"),
        ({"model": "nobody"}, 404, "conversion.model"),
        ({"speaker": 2}, 400, "conversion.speaker"),
        ({"sample_rate": 4000}, 400, "conversion.sample_rate"),
        ({"pitsch": 1}, 400, "conversion.pitsch"),
    ],
)
def test_a_bad_conversion_is_refused_before_anything_is_spoken(
    client: TestClient, engine: ScriptedSpeech, fields: dict[str, object], status: int, param: str
) -> None:
    assert error_of(client.post("/v1/audio/speech", json=spoken(**fields))) == (status, param)
    assert engine.requests == []


def test_without_a_converter_speech_is_never_given_in_another_voice(
    store: VoiceStore, settings: Settings, engine: ScriptedSpeech
) -> None:
    client = TestClient(build_app(engine, store, settings, LocalMetrics()))
    assert client.post("/v1/audio/speech", json=spoken()).status_code == 404
    assert convert(client).json()["error"]["code"] == "not_served"
    assert engine.requests == []


async def test_speech_whose_conversion_fails_later_breaks_and_stops_the_engine(
    app: FastAPI, converter: ScriptedConverter, engine: ScriptedSpeech
) -> None:
    converter.failures = {1: EngineError("out of memory")}
    engine.script = tuple([chunk(1.0)] * 30)
    exchange = speech(app, conversion={"model": "Ada", "rms_mix_rate": 1})
    with pytest.raises(Exception, match="out of memory"):
        await exchange.end()
    assert exchange.status == 200
    assert not exchange.complete
    assert len(exchange.body) <= 2 * RATE
    assert (engine.running, converter.running) == (0, 0)


async def test_speech_whose_engine_fails_breaks_and_leaves_no_conversion(
    app: FastAPI, converter: ScriptedConverter, engine: ScriptedSpeech
) -> None:
    engine.script = (*[chunk(1.0)] * 3, EngineError("no memory"))
    exchange = speech(app, conversion={"model": "Ada", "rms_mix_rate": 1})
    with pytest.raises(Exception, match="no memory"):
        await exchange.end()
    assert not exchange.complete
    assert (engine.running, converter.running) == (0, 0)


async def test_a_listener_who_leaves_stops_the_engine_and_the_conversion(
    app: FastAPI, converter: ScriptedConverter, engine: ScriptedSpeech
) -> None:
    converter.hold = asyncio.Event()
    engine.script = tuple([chunk(1.0)] * 300)
    exchange = speech(app, conversion={"model": "Ada", "rms_mix_rate": 1})
    await exchange.first_bytes()
    await exchange.leave()
    await exchange.end()
    await until(lambda: not engine.running and not converter.running)
    assert engine.given < 100, "who is converted slowly is not spoken far ahead"
