"""When bytes leave, and what happens when one side stops."""

from __future__ import annotations

import asyncio
import json

import pytest
from fastapi import FastAPI

from serving.api import build_app
from serving.api.errors import StreamBrokenError
from serving.api.streaming import AudioStream
from serving.engines.base import SpeechRequest, Voice
from serving.errors import EngineError, InvalidRequest, Overloaded, Unavailable
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.store.voices import VoiceStore
from tests.serving.api.asgi import speech, until
from tests.serving.api.scripted import ScriptedSpeech, chunk

REQUEST = SpeechRequest("Hello.", Voice("one"), "en")


class App:
    """The application around a scripted engine."""

    def __init__(self, engine: ScriptedSpeech, store: VoiceStore, settings: Settings) -> None:
        self.engine = engine
        self.metrics = LocalMetrics()
        self.asgi: FastAPI = build_app(engine, store, settings, self.metrics)

    async def value(self, sample: str) -> float:
        lines = (await self.metrics.render()).decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(sample + " ")), 0.0)


@pytest.mark.parametrize("audio_format", ["pcm", "wav", "mp3", "aac", "opus", "flac"])
async def test_the_first_bytes_leave_before_the_second_chunk_is_made(
    store: VoiceStore, settings: Settings, audio_format: str
) -> None:
    go_on = asyncio.Event()
    app = App(ScriptedSpeech(chunk(), go_on, chunk()), store, settings)
    exchange = speech(app.asgi, response_format=audio_format)

    first = await exchange.first_bytes()
    given, complete = app.engine.given, exchange.complete
    go_on.set()
    await exchange.end()

    assert (given, complete) == (1, False)
    assert exchange.status == 200
    assert exchange.complete
    assert len(exchange.body) > len(first)
    assert app.engine.given == 2
    assert app.engine.running == 0


async def test_events_leave_one_by_one_too(store: VoiceStore, settings: Settings) -> None:
    go_on = asyncio.Event()
    app = App(ScriptedSpeech(chunk(), go_on), store, settings)
    exchange = speech(app.asgi, stream_format="sse")

    first = await exchange.first_bytes()
    assert first.startswith(b'data: {"type": "speech.audio.delta"')
    assert b"speech.audio.done" not in first
    go_on.set()
    await exchange.end()

    usage = json.loads(exchange.body.split(b"data: ")[-1])["usage"]
    assert usage == {"input_tokens": 5, "output_tokens": 10, "total_tokens": 15}


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_a_client_that_leaves_mid_stream_stops_the_engine(
    store: VoiceStore, settings: Settings, stream_format: str, spec_version: str
) -> None:
    # From 2.4 on a server tells by an error of send; before that by a message.
    by_message = spec_version == "2.3"
    steps = (chunk(), asyncio.Event()) if by_message else [chunk()] * 100_000
    app = App(ScriptedSpeech(*steps), store, settings)
    exchange = speech(app.asgi, stream_format=stream_format, spec_version=spec_version)

    await exchange.first_bytes()
    await exchange.leave(by_message=by_message)
    await exchange.end()

    assert app.engine.running == 0
    assert not exchange.complete
    assert await app.value('kubevoice_cancelled_total{model="scripted"}') == 1
    assert await app.value('kubevoice_broken_streams_total{model="scripted"}') == 0
    route = 'method="POST",route="/v1/audio/speech",status="499"'
    assert await app.value(f"kubevoice_requests_total{{{route}}}") == 1


async def test_a_client_that_leaves_before_the_first_chunk_stops_the_engine(
    store: VoiceStore, settings: Settings
) -> None:
    app = App(ScriptedSpeech(asyncio.Event()), store, settings)
    exchange = speech(app.asgi)

    await until(lambda: app.engine.running)
    await exchange.leave()
    await exchange.end()

    assert app.engine.running == 0
    assert exchange.sent == []
    assert await app.value('kubevoice_cancelled_total{model="scripted"}') == 1


@pytest.mark.parametrize("before_first", [True, False])
async def test_a_cancelled_request_stops_the_engine(store: VoiceStore, settings: Settings, before_first: bool) -> None:
    script = (asyncio.Event(),) if before_first else (chunk(), asyncio.Event())
    app = App(ScriptedSpeech(*script), store, settings)
    exchange = speech(app.asgi)

    await until(lambda: app.engine.running if before_first else exchange.body)
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange.task

    assert app.engine.running == 0
    assert await app.value('kubevoice_cancelled_total{model="scripted"}') == 1


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (EngineError("the GPU fell off"), 500, "engine_error", None),
        (InvalidRequest("no such language", "language"), 400, "invalid_value", None),
        (Overloaded("full", 3), 429, "overloaded", "3"),
        (Unavailable("loading", 7), 503, "unavailable", "7"),
        (ValueError("a bug with a secret"), 500, "internal_error", None),
    ],
)
@pytest.mark.parametrize("stream_format", ["audio", "sse"])
async def test_a_failure_before_the_first_byte_is_a_status_and_json(
    store: VoiceStore,
    settings: Settings,
    error: Exception,
    status: int,
    code: str,
    retry_after: str | None,
    stream_format: str,
) -> None:
    app = App(ScriptedSpeech(error), store, settings)
    exchange = speech(app.asgi, stream_format=stream_format)
    await exchange.end()

    answer = json.loads(exchange.body)["error"]
    assert (exchange.status, answer["code"]) == (status, code)
    assert exchange.headers["content-type"] == "application/json"
    assert exchange.headers.get("retry-after") == retry_after
    assert "secret" not in answer["message"]
    assert await app.value('kubevoice_broken_streams_total{model="scripted"}') == 0
    assert await app.value(f'kubevoice_refusals_total{{reason="{code}"}}') == 1


async def test_an_engine_that_says_nothing_is_a_refusal_naming_input(store: VoiceStore, settings: Settings) -> None:
    for audio_format in ("wav", "mp3", "pcm"):
        exchange = speech(App(ScriptedSpeech(), store, settings).asgi, response_format=audio_format)
        await exchange.end()

        assert exchange.status == 400
        assert json.loads(exchange.body)["error"]["param"] == "input"


@pytest.mark.parametrize("error", [EngineError("the GPU fell off"), ValueError("a bug")])
async def test_a_failure_after_the_first_byte_breaks_the_connection_and_is_logged_once(
    store: VoiceStore, settings: Settings, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(ScriptedSpeech(chunk(), error), store, settings)
    exchange = speech(app.asgi, spec_version="2.4")

    with pytest.raises(StreamBrokenError):
        await exchange.end()

    assert exchange.status == 200
    assert exchange.body
    assert not exchange.complete
    assert app.engine.running == 0
    assert await app.value('kubevoice_broken_streams_total{model="scripted"}') == 1
    assert await app.value('kubevoice_cancelled_total{model="scripted"}') == 0
    assert await app.value('kubevoice_refusals_total{reason="internal_error"}') == 0
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        f"speech stream broke after its first byte: {error}"
    ]


@pytest.mark.parametrize(
    ("error", "code"), [(EngineError("the GPU fell off"), "engine_error"), (ValueError("a secret"), "engine_error")]
)
async def test_a_failure_after_the_first_event_is_an_error_event(
    store: VoiceStore, settings: Settings, error: Exception, code: str
) -> None:
    app = App(ScriptedSpeech(chunk(), error), store, settings)
    exchange = speech(app.asgi, stream_format="sse")
    await exchange.end()

    last = json.loads(exchange.body.split(b"data: ")[-1])
    assert last["type"] == "error"
    assert last["error"]["code"] == code
    assert last["error"]["type"] == "server_error"
    assert b"secret" not in exchange.body
    assert b"speech.audio.done" not in exchange.body
    assert exchange.complete
    assert await app.value('kubevoice_broken_streams_total{model="scripted"}') == 1


async def test_a_stream_that_nobody_reads_is_closed_by_close() -> None:
    engine = ScriptedSpeech(chunk(), asyncio.Event())
    stream = AudioStream(engine.stream(REQUEST), "mp3", "scripted", LocalMetrics())
    await stream.open()
    unread = stream.audio()

    await stream.close()
    await stream.close()
    await unread.aclose()

    assert engine.running == 0


async def test_a_finished_stream_counts_its_audio_once() -> None:
    metrics = LocalMetrics()
    stream = AudioStream(ScriptedSpeech(chunk(0.5), chunk(1.0)).stream(REQUEST), "pcm", "scripted", metrics)
    await stream.open()
    data = b"".join([piece async for piece in stream.audio()])
    await stream.close()

    text = (await metrics.render()).decode()
    assert len(data) == 2 * 1.5 * 24000
    assert 'kubevoice_audio_seconds_total{format="pcm",model="scripted"} 1.5' in text
    assert 'kubevoice_first_audio_seconds_count{format="pcm",model="scripted"} 1.0' in text
    assert 'kubevoice_real_time_factor_count{model="scripted"} 1.0' in text
    assert 'kubevoice_cancelled_total{model="scripted"} 0.0' in text
    assert 'kubevoice_broken_streams_total{model="scripted"} 0.0' in text, "a rate sees the first one only after a zero"
