"""Quotas of tenants and keys, on every route that makes audio."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from openai import OpenAI, RateLimitError
from starlette.testclient import TestClient

from serving.api import build_app
from serving.api.quotas import Quotas, duration
from serving.audio.wav import wav_bytes
from serving.errors import EngineError
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.settings_groups import QuotaSettings
from serving.store.conversion_models import ConversionModelStore
from serving.store.voices import VoiceStore
from tests.audio_measure import tone
from tests.serving.api.guarded import bearer, keys_of, scripted_app
from tests.serving.api.scripted import ScriptedSpeech, chunk

SPEECH = "/v1/audio/speech"
THEIRS = "/elevenlabs/v1/text-to-speech/one"


class Clock:
    """The time that quotas see."""

    def __init__(self) -> None:
        self.now = 1_000_000_020.0  # the beginning of a minute

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("limits.aio.storage.memory.time", SimpleNamespace(time=clock.time))
    return clock


@pytest.fixture
def start(store: VoiceStore, settings: Settings, clock: Clock) -> Iterator[Any]:
    """Starts the application with quotas; its engine makes 0.2 s of audio of any text."""
    clients: list[TestClient] = []

    def started(*, engine: ScriptedSpeech | None = None, **quotas: int) -> TestClient:
        own = settings.model_copy(update={"quotas": QuotaSettings(**quotas)})
        app = build_app(engine, store, own, LocalMetrics(), keys_ttl_s=0.0) if engine else scripted_app(store, own)
        client = TestClient(app)
        clients.append(client.__enter__())
        return client

    yield started
    for client in clients:
        client.__exit__(None, None, None)


def speak(client: TestClient, text: str = "Hello.", key: str | None = None) -> Any:
    body = {"model": "auto", "input": text, "voice": "one", "response_format": "wav"}
    return client.post(SPEECH, json=body, headers=bearer(key) if key else {})


def refused(answer: Any) -> str:
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "quota_exceeded"), answer.text
    assert answer.json()["error"]["type"] == "rate_limit_error"
    message: str = answer.json()["error"]["message"]
    return message


def test_without_quotas_nothing_is_counted_or_told(start: Any) -> None:
    answer = speak(start())
    assert answer.status_code == 200
    assert not [name for name in answer.headers if "ratelimit" in name]


def test_requests_over_the_quota_are_refused_until_there_is_room(start: Any, clock: Clock) -> None:
    client = start(requests_per_minute=2)
    told = [speak(client).headers for _ in range(2)]
    assert [each["x-ratelimit-remaining-requests"] for each in told] == ["1", "0"]
    assert (told[0]["x-ratelimit-limit-requests"], told[0]["x-ratelimit-reset-requests"]) == ("2", "2m0s")
    answer = speak(client)
    assert "requests_per_minute" in refused(answer)
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    wait = int(answer.headers["Retry-After"])
    assert f"try again in {duration(wait)}" in refused(speak(client))
    clock.now += wait - 2
    refused(speak(client))
    clock.now += 3
    assert speak(client).status_code == 200


def test_refusals_are_counted_by_their_code(start: Any) -> None:
    client = start(requests_per_minute=1)
    speak(client)
    speak(client)
    assert 'kubevoice_refusals_total{reason="quota_exceeded"} 1.0' in client.get("/metrics").text


def test_a_text_is_charged_whole_or_not_at_all(start: Any) -> None:
    client = start(characters_per_minute=100, requests_per_day=10)
    assert speak(client, "a" * 90).status_code == 200
    answer = speak(client, "b" * 11)
    assert "has 10 left" in refused(answer)
    assert answer.headers["x-ratelimit-remaining-requests"] == "9", "what was refused is no request"
    assert speak(client, "c" * 10).status_code == 200
    assert "is used up" in refused(speak(client, "d"))


def test_a_text_that_never_fits_is_told_so(start: Any) -> None:
    answer = speak(start(characters_per_minute=50), "a" * 51)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (413, "larger_than_quota", "input")
    assert "Retry-After" not in answer.headers


def test_audio_is_charged_after_it_was_made_and_an_empty_balance_refuses_the_next(start: Any, clock: Clock) -> None:
    client = start(engine=ScriptedSpeech(*[chunk(1.0)] * 4), audio_seconds_per_minute=10)
    assert [speak(client).status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = speak(client)
    assert "seconds of audio a minute" in refused(answer)
    clock.now += int(answer.headers["Retry-After"]) + 1
    assert speak(client).status_code == 200


@pytest.mark.parametrize("failure", [EngineError("no"), None])
def test_what_fails_before_its_first_byte_gives_its_characters_back(start: Any, failure: EngineError | None) -> None:
    script = [failure] if failure else []
    client = start(engine=ScriptedSpeech(*script), characters_per_minute=10)
    assert [speak(client, "a" * 10).status_code for _ in range(3)] == [500 if failure else 400] * 3


def test_bad_requests_cost_nothing(start: Any) -> None:
    client = start(requests_per_minute=1)
    assert client.post(SPEECH, json={"model": "auto", "input": "Hi.", "voice": "nobody"}).status_code == 404
    assert client.post(SPEECH, json={"model": "auto"}).status_code == 400
    assert speak(client).status_code == 200


def test_a_keys_quota_and_its_tenants_both_hold(start: Any, store: VoiceStore) -> None:
    client = start(requests_per_minute=3)
    keys = keys_of(store)
    small = keys.create("acme", "small", ["speech"], limits={"requests_per_minute": 1})[1]
    large = keys.create("acme", "large", ["speech"], limits={"requests_per_minute": 100})[1]
    other = keys.create("other", "free", ["speech"])[1]
    assert speak(client, key=small).headers["x-ratelimit-remaining-requests"] == "0"
    assert "your key's quota" in refused(speak(client, key=small))
    assert [speak(client, key=large).status_code for _ in range(2)] == [200, 200]
    assert "your tenant's quota" in refused(speak(client, key=large))
    assert "your key's quota" in refused(speak(client, key=small))
    assert speak(client, key=other).status_code == 200


async def test_a_burst_does_not_pass_the_quota(store: VoiceStore, settings: Settings) -> None:
    own = settings.model_copy(update={"quotas": QuotaSettings(requests_per_minute=7, characters_per_day=1000)})
    transport = httpx.ASGITransport(scripted_app(store, own))
    body = {"model": "auto", "input": "a" * 100, "voice": "one", "response_format": "wav"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answers = await asyncio.gather(*(client.post(SPEECH, json=body) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [429] * 43


def test_openais_client_reads_the_refusal(start: Any) -> None:
    client = start(requests_per_minute=1)
    openai = OpenAI(api_key="none", base_url="http://testserver/v1", http_client=client, max_retries=0)
    openai.audio.speech.create(model="tts-1", voice="one", input="Hello.")
    with pytest.raises(RateLimitError, match="requests_per_minute") as refusal:
        openai.audio.speech.create(model="tts-1", voice="one", input="Hello.")
    assert refusal.value.code == "quota_exceeded"


def test_elevenlabs_routes_are_charged_in_their_own_words(start: Any) -> None:
    client = start(characters_per_minute=10, requests_per_minute=9)
    answer = client.post(f"{THEIRS}/stream", json={"text": "a" * 9})
    assert (answer.status_code, answer.headers["x-ratelimit-remaining-requests"]) == (200, "8")
    answer = client.post(THEIRS, json={"text": "a" * 9})
    assert (answer.status_code, answer.json()["detail"]["status"]) == (429, "quota_exceeded")
    answer = client.post(THEIRS, json={"text": "a" * 11})
    assert (answer.status_code, answer.json()["detail"]["param"]) == (413, "text")


def live(client: TestClient, *texts: str) -> list[dict[str, Any]]:
    with client.websocket_connect(f"{THEIRS}/stream-input?output_format=pcm_16000") as socket:
        for text in (*texts, ""):
            socket.send_text(json.dumps({"text": text, "flush": True}))
        answers = []
        while (message := socket.receive())["type"] == "websocket.send":
            answers.append(json.loads(message["text"]))
    return answers


def test_live_text_is_charged_as_it_arrives(start: Any) -> None:
    client = start(characters_per_minute=20)
    assert live(client, "Ten chars.", "Five.")[-1]["isFinal"]
    refusal = live(client, "Five.", "One")[-1]
    assert (refusal["error"], refusal["code"]) == ("quota_exceeded", 1008)
    assert "characters_per_minute" in refusal["message"]
    assert 'reason="quota_exceeded"} 1.0' in client.get("/metrics").text


def test_live_texts_are_requests_and_make_audio(start: Any) -> None:
    client = start(engine=ScriptedSpeech(chunk(2.0)), requests_per_minute=2, audio_seconds_per_minute=3)
    assert live(client, "Hello there.", "And again.")[-1]["isFinal"]
    assert "seconds of audio" in live(client, "Hello.")[-1]["message"]
    client = start(requests_per_minute=1)
    assert live(client, "Hello.")[-1]["isFinal"]
    assert "requests_per_minute" in live(client, "Hello.")[-1]["message"]


@pytest.mark.parametrize("route", ["/v1/audio/conversions?model=Ada", "/elevenlabs/v1/speech-to-speech/Ada"])
def test_conversions_are_requests_and_make_audio(start: Any, store: VoiceStore, route: str) -> None:
    def fill(directory: Any) -> dict[str, object]:
        (directory / "weights.safetensors").write_bytes(b"weights")
        return {"version": "v2", "sample_rate": 40000, "f0": True, "speakers": 1}

    ConversionModelStore(store.volume, store.database).add(tenant="default", name="Ada", fill=fill)
    name = "audio" if "elevenlabs" in route else "file"

    def convert(client: TestClient) -> Any:
        return client.post(route, files={name: ("a.wav", wav_bytes(tone(440, 2.0, 24000), 24000))})

    client = start(audio_seconds_per_minute=2)
    assert convert(client).status_code == 200
    assert convert(client).status_code == 429
    client = start(requests_per_minute=1)
    assert [convert(client).status_code for _ in range(2)] == [200, 429]


def test_jobs_are_charged_when_they_are_taken_but_not_by_the_minute(start: Any) -> None:
    client = start(characters_per_day=100, characters_per_minute=5, requests_per_minute=3, audio_seconds_per_day=1)
    items = {"voice": "one", "items": [{"text": "a" * 40}, {"text": "b" * 40}]}
    first = client.post("/v1/jobs", json=items, headers={"Idempotency-Key": "1"})
    assert (first.status_code, first.headers["x-ratelimit-remaining-requests"]) == (200, "2")
    again = client.post("/v1/jobs", json=items, headers={"Idempotency-Key": "1"})
    assert again.json()["id"] == first.json()["id"], "what was taken is not charged again"
    assert "characters_per_day" in refused(client.post("/v1/jobs", json=items))
    answer = client.post("/v1/jobs", json={"voice": "one", "text": "Words. " * 20})
    assert (answer.status_code, answer.json()["error"]["param"]) == (413, "text")
    assert len(client.get("/v1/jobs").json()["data"]) == 1


async def test_audio_is_charged_while_a_long_stream_goes_on(clock: Clock) -> None:
    quotas = Quotas(QuotaSettings(audio_seconds_per_minute=10), LocalMetrics())
    charge = await quotas.take({"type": "http"})
    for made in range(12):
        charge.made(float(made))
    await asyncio.sleep(0)
    with pytest.raises(Exception, match="seconds of audio"):
        await quotas.take({"type": "http"})


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.2, "1s"), (90, "1m30s"), (3600, "1h0m0s"), (86399.5, "24h0m0s")]
)
def test_durations_are_in_openais_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text
