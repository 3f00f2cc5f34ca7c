"""The front door of an ingress replica: what it refuses itself, and what it lets through to the application."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from serving.api import build_app
from serving.deployments.admission import Gate
from serving.deployments.front import FrontDoor
from serving.deployments.refusing import Refusals
from serving.errors import Overloaded
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.store.voices import VoiceStore
from tests.serving.api.asgi import Exchange
from tests.serving.api.scripted import ScriptedSpeech, chunk

SPEECH = "/v1/audio/speech"
ELEVENLABS = "/elevenlabs/v1/text-to-speech/one"


class Gated(ScriptedSpeech):
    """A speech service behind a gate."""

    def __init__(self) -> None:
        super().__init__(chunk())
        self.gate = Gate(most=1)

    def refusal(self) -> Overloaded | None:
        return self.gate.refusal("speech")

    def entering(self) -> AbstractContextManager[Overloaded | None]:
        return self.gate.entering("speech")


class Inner:
    """The application, which counts what reaches it."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.reached = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached += 1
        await self.app(scope, receive, send)


@pytest.fixture
def engine() -> Gated:
    return Gated()


@pytest.fixture
def app(engine: Gated, store: VoiceStore, settings: Settings) -> FastAPI:
    return build_app(engine, store, settings, LocalMetrics())


@pytest.fixture
def inner(app: FastAPI) -> Iterator[Inner]:
    FrontDoor.refusals = Refusals(app)
    yield Inner(app)
    FrontDoor.refusals = None


def ask(inner: Inner, path: str = SPEECH, method: str = "POST", headers: dict[bytes, bytes] | None = None) -> Exchange:
    field = "text" if path == ELEVENLABS else "input"
    body = json.dumps({"model": "auto", field: "Hi.", "voice": "one"}).encode()
    return Exchange(
        FrontDoor(inner), method, path, body=body, headers={b"content-type": b"application/json", **(headers or {})}
    )


@pytest.mark.parametrize("path", [SPEECH, ELEVENLABS])
async def test_a_full_replica_refuses_before_the_application_in_the_words_of_the_api(
    inner: Inner, engine: Gated, path: str
) -> None:
    with engine.gate.waiting("speech"):
        exchange = ask(inner, path)
        await exchange.end()

    assert (exchange.status, exchange.headers["retry-after"]) == (429, "1")
    assert "x-request-id" in exchange.headers
    assert list(json.loads(exchange.body)) == (["detail"] if path == ELEVENLABS else ["error"])
    assert inner.reached == 0
    context = inner.app.state.context
    assert 'kubevoice_refusals_total{reason="overloaded"} 1.0' in (await context.metrics.render()).decode()


async def test_with_room_a_request_is_the_applications(inner: Inner) -> None:
    exchange = ask(inner)
    await exchange.end()
    assert (exchange.status, inner.reached) == (200, 1)


async def test_everything_but_speech_is_the_applications_however_full_it_is(inner: Inner, engine: Gated) -> None:
    with engine.gate.waiting("speech"):
        exchange = ask(inner, "/healthz", "GET")
        await exchange.end()
    assert (exchange.status, inner.reached) == (200, 1)


async def test_a_web_page_is_refused_by_the_application_which_knows_its_origin(inner: Inner, engine: Gated) -> None:
    with engine.gate.waiting("speech"):
        exchange = ask(inner, headers={b"origin": b"https://voice.example"})
        await exchange.end()
    assert (exchange.status, inner.reached) == (429, 1)


async def test_a_replica_that_stops_says_so_though_it_is_full(inner: Inner, engine: Gated) -> None:
    inner.app.state.context.draining = True
    with engine.gate.waiting("speech"):
        exchange = ask(inner)
        await exchange.end()
    assert (exchange.status, inner.reached) == (503, 1)


async def test_a_request_that_has_not_come_to_its_wait_takes_the_place_of_the_next(inner: Inner, engine: Gated) -> None:
    with engine.entering() as refused:
        assert refused is None
        exchange = ask(inner)
        await exchange.end()
    assert (exchange.status, inner.reached) == (429, 0)


async def test_where_no_ingress_replica_runs_everything_goes_through(app: FastAPI, engine: Gated) -> None:
    inner = Inner(app)
    with engine.gate.waiting("speech"):
        exchange = ask(inner)
        await exchange.end()
    assert (exchange.status, inner.reached) == (429, 1)
