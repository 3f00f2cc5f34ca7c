"""``WS /elevenlabs/v1/text-to-speech/{voice_id}/stream-input``."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from serving.errors import EngineError, Overloaded
from tests.serving.api.scripted import ScriptedSpeech, chunk

ROUTE = "/elevenlabs/v1/text-to-speech/one/stream-input?output_format=pcm_24000"


def begin(socket: WebSocketTestSession, schedule: list[int] | None = None, **fields: object) -> None:
    socket.send_json({"text": " ", "generation_config": {"chunk_length_schedule": schedule or [50]}, **fields})


def everything(socket: WebSocketTestSession) -> tuple[bytes, list[dict[str, Any]]]:
    """The audio until the end, and all messages."""
    messages: list[dict[str, Any]] = []
    while not messages or not messages[-1]["isFinal"]:
        messages.append(socket.receive_json())
    return b"".join(base64.b64decode(message["audio"] or "") for message in messages), messages


def test_audio_starts_before_the_text_ends(scripted: TestClient, engine: ScriptedSpeech) -> None:
    with scripted.websocket_connect(ROUTE) as socket:
        begin(socket)
        sentence = "This is a sentence that is more than long enough by itself."
        socket.send_json({"text": f"{sentence} "})
        assert base64.b64decode(socket.receive_json()["audio"])
        assert [request.text for request in engine.requests] == [sentence]
        socket.send_json({"text": "And the rest."})
        socket.send_json({"text": ""})
        everything(socket)
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert closed.value.code == 1000
    assert [request.text for request in engine.requests][1:] == ["And the rest."]


def test_all_pieces_are_one_stream_of_audio(scripted: TestClient, engine: ScriptedSpeech) -> None:
    with scripted.websocket_connect(ROUTE) as socket:
        begin(socket)
        for word in ["One sentence of some length, to be spoken first. ", "Two. ", "Three. "]:
            socket.send_json({"text": word, "flush": True})
        socket.send_json({"text": ""})
        audio, messages = everything(socket)
    assert len(engine.requests) == 3
    assert len(audio) == 3 * 2 * 24000
    expected = np.concatenate([chunk(0.5).pcm, chunk(0.5).pcm] * 3)
    assert np.abs(np.frombuffer(audio, "<i2") / 32768 - expected).max() < 2 / 32768
    assert messages[0]["alignment"] is None


def test_only_the_first_piece_can_be_refused_for_a_full_server(scripted: TestClient, engine: ScriptedSpeech) -> None:
    with scripted.websocket_connect(ROUTE) as socket:
        begin(socket)
        socket.send_json({"text": "First. ", "flush": True})
        socket.send_json({"text": "Second. ", "flush": True})
        socket.send_json({"text": ""})
        everything(socket)
    assert engine.requests[0].heard_in_s is None
    assert engine.requests[1].heard_in_s == pytest.approx(1.0, abs=0.5)


def test_a_pause_of_the_writer_is_not_taken_from_what_is_still_to_be_heard(
    scripted: TestClient, engine: ScriptedSpeech
) -> None:
    engine.script = (chunk(1.0),)
    with scripted.websocket_connect(ROUTE) as socket:
        begin(socket)
        socket.send_json({"text": "First. ", "flush": True})
        socket.receive_json()
        time.sleep(2.5)
        for text in ("Second. ", "Third. "):
            socket.send_json({"text": text, "flush": True})
            socket.receive_json()
        socket.send_json({"text": ""})
        everything(socket)
    heard = [request.heard_in_s for request in engine.requests]
    assert heard == [None, 0.0, pytest.approx(1.0, abs=0.5)]


def test_all_pieces_are_spoken_by_the_revision_of_the_first(
    scripted: TestClient, engine: ScriptedSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.api.context.INFO_TTL_S", 0.0)
    with scripted.websocket_connect(ROUTE) as socket:
        begin(socket)
        socket.send_json({"text": "First. ", "flush": True})
        socket.receive_json()
        engine.revision = "r2"
        for text in ("Second. ", "Third. "):
            assert scripted.get("/v1/models").status_code == 200
            socket.send_json({"text": text, "flush": True})
            socket.receive_json()
        socket.send_json({"text": ""})
        everything(socket)
    assert [request.revision for request in engine.requests] == ["r1", "r1", "r1"]


def test_further_pieces_are_for_the_revision_that_spoke_the_first(scripted: TestClient, engine: ScriptedSpeech) -> None:
    engine.script = (replace(chunk(), revision="r2"),)
    with scripted.websocket_connect(ROUTE) as socket:
        begin(socket)
        for text in ("First. ", "Second. "):
            socket.send_json({"text": text, "flush": True})
            socket.receive_json()
        socket.send_json({"text": ""})
        everything(socket)
    assert [request.revision for request in engine.requests] == ["r1", "r2"]


def test_settings_of_the_first_message_hold_for_all(scripted: TestClient, engine: ScriptedSpeech) -> None:
    with scripted.websocket_connect(f"{ROUTE}&seed=5&language_code=de") as socket:
        begin(socket, voice_settings={"stability": 1.0, "speed": 0.9})
        socket.send_json({"text": "Hallo. ", "flush": True})
        socket.send_json({"text": ""})
        everything(socket)
    (request,) = engine.requests
    assert (request.speed, request.seed, request.language, request.sampling.temperature) == (0.9, 5, "de", 0.5)


def test_a_text_of_nothing_ends_without_audio(scripted: TestClient, engine: ScriptedSpeech) -> None:
    with scripted.websocket_connect(ROUTE) as socket:
        begin(socket)
        socket.send_json({"text": ""})
        audio, _ = everything(socket)
    assert audio == b""
    assert engine.requests == []


@pytest.mark.parametrize(
    ("route", "message", "code"),
    [
        (ROUTE.replace("/one/", "/nobody/"), None, "voice_not_found"),
        (ROUTE + "&model_id=other", None, "model_not_found"),
        (ROUTE.replace("pcm_24000", "pcm_1"), None, "invalid_value"),
        (ROUTE, {"texts": "x"}, "invalid_value"),
        (ROUTE, {"text": "x", "voice_settings": {"stability": 7}}, "invalid_value"),
        (ROUTE + "&inactivity_timeout=0.05", None, "input_timeout_exceeded"),
    ],
)
def test_what_cannot_be_served_is_said_and_closed(
    scripted: TestClient, route: str, message: dict[str, Any] | None, code: str
) -> None:
    with scripted.websocket_connect(route) as socket:
        if message is not None:
            socket.send_json(message)
        said = socket.receive_json()
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert said["error"] == code
    assert said["message"]
    assert closed.value.code == 1008


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ((Overloaded("busy"),), "overloaded"),
        ((chunk(0.5), EngineError("the decoder failed")), "engine_error"),
    ],
)
def test_an_engine_that_fails_is_an_error_and_never_a_final_message(
    scripted: TestClient, engine: ScriptedSpeech, script: Any, code: str
) -> None:
    engine.script = script
    with scripted.websocket_connect(ROUTE) as socket:
        begin(socket)
        socket.send_json({"text": "Hello. ", "flush": True})
        messages = [socket.receive_json()]
        while "error" not in messages[-1]:
            messages.append(socket.receive_json())
    assert messages[-1]["error"] == code
    assert not any(message.get("isFinal") for message in messages)


def test_a_client_that_leaves_frees_the_engine(scripted: TestClient, engine: ScriptedSpeech) -> None:
    engine.script = (chunk(0.5), asyncio.Event())
    with scripted.websocket_connect(ROUTE) as socket:
        begin(socket)
        socket.send_json({"text": "Hello. ", "flush": True})
        socket.receive_json()
        assert engine.running == 1
        socket.close()
        assert scripted.portal is not None
        scripted.portal.call(asyncio.wait_for, engine.idle.wait(), 10)
    assert engine.running == 0


def test_a_client_that_sends_faster_than_anybody_can_speak_is_stopped(
    scripted: TestClient, engine: ScriptedSpeech
) -> None:
    engine.script = (asyncio.Event(),)
    with scripted.websocket_connect(ROUTE) as socket:
        begin(socket)
        for _ in range(40):
            socket.send_json({"text": "A sentence. " * 100})
        assert socket.receive_json()["error"] == "payload_too_large"


def test_a_server_that_stops_takes_no_new_text(scripted: TestClient) -> None:
    scripted.app.state.context.draining = True  # type: ignore[attr-defined]
    with scripted.websocket_connect(ROUTE) as socket:
        assert socket.receive_json()["error"] == "unavailable"
