"""``POST /v1/audio/speech`` on the real espeak engine."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from serving.api import build_app
from serving.engines.base import SpeechRequest, Voice
from serving.engines.espeak import EspeakEngine
from serving.metrics import LocalMetrics
from serving.selection import MODEL_ALIASES, OPENAI_VOICES
from serving.settings import Settings
from serving.settings_groups import VoiceSettings
from serving.store.voices import VoiceStore
from tests.audio_measure import Pcm, decode_any, duration_of, is_silent, peak, rms
from tests.serving.api.listing import files_below

SENTENCE = "The quick brown fox jumps over the lazy dog, and then it sleeps."
PCM_RATE = 24000
JSON = {"Content-Type": "application/json"}
CONTENT_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg;codecs=opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


def body(**fields: object) -> dict[str, object]:
    return {"model": "tts-1", "input": SENTENCE, "voice": "alloy", **fields}


def speak(client: TestClient, **fields: object) -> bytes:
    response = client.post("/v1/audio/speech", json=body(**fields))
    assert response.status_code == 200, response.text
    return response.content


def samples(pcm: bytes) -> Pcm:
    return np.frombuffer(pcm, "<i2").astype(np.float32) / 32768.0


def pcm_of(client: TestClient, **fields: object) -> Pcm:
    return samples(speak(client, response_format="pcm", **fields))


def events(text: str) -> list[dict[str, Any]]:
    assert text.endswith("\n\n")
    lines = text.removesuffix("\n\n").split("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines]


async def engine_seconds(engine: EspeakEngine, text: str) -> float:
    chunks = engine.stream(SpeechRequest(text, Voice("f1", preset="f1"), "en"))
    return sum([chunk.seconds async for chunk in chunks])


@pytest.mark.parametrize("audio_format", CONTENT_TYPES)
def test_each_format_decodes_to_the_engines_speech(client: TestClient, espeak: EspeakEngine, audio_format: str) -> None:
    response = client.post("/v1/audio/speech", json=body(response_format=audio_format, voice="f1"))

    assert response.headers["content-type"] == CONTENT_TYPES[audio_format]
    if audio_format == "pcm":
        pcm, rate = samples(response.content), PCM_RATE
    else:
        pcm, rate = decode_any(response.content)
    # Opus always decodes at 48 kHz (RFC 7845, 5.1).
    assert rate == (48000 if audio_format == "opus" else PCM_RATE)
    assert len(pcm) / rate == pytest.approx(asyncio.run(engine_seconds(espeak, SENTENCE)), abs=0.12)
    assert 2.5 < len(pcm) / rate < 6.0  # 13 words at about 175 words a minute
    assert not is_silent(pcm)
    assert 0.01 < rms(pcm) < 0.5
    assert peak(pcm) < 1.0


def test_mp3_is_the_default_format(client: TestClient) -> None:
    response = client.post("/v1/audio/speech", json=body())

    assert response.headers["content-type"] == "audio/mpeg"
    assert duration_of(response.content) > 1


def test_the_same_request_gives_the_same_bytes_and_another_text_gives_others(client: TestClient) -> None:
    assert speak(client, seed=1) == speak(client, seed=1)
    assert not np.array_equal(pcm_of(client), pcm_of(client, input=SENTENCE.replace("fox", "cat")))


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
def test_speed_divides_the_duration(client: TestClient, speed: float) -> None:
    normal = len(pcm_of(client))

    # espeak-ng shortens pauses less than words, hence the tolerance.
    assert len(pcm_of(client, speed=speed)) == pytest.approx(normal / speed, rel=0.25)


@pytest.mark.parametrize("speed", [0.25, 4.0])
def test_the_speed_limits_still_sound_like_speech(client: TestClient, speed: float) -> None:
    pcm = pcm_of(client, speed=speed)

    assert 0.01 < rms(pcm) < 0.5
    assert peak(pcm) < 1.0


@pytest.mark.parametrize("voice", OPENAI_VOICES)
def test_every_openai_voice_name_speaks(client: TestClient, voice: str) -> None:
    assert not is_silent(pcm_of(client, voice=voice, input="Hello."))


def test_openai_names_differ_and_default_is_the_first_preset(client: TestClient) -> None:
    first, second = pcm_of(client, voice="alloy"), pcm_of(client, voice="ash")

    assert not np.array_equal(first, second)
    assert np.array_equal(pcm_of(client, voice="default"), pcm_of(client, voice="f1"))


def test_a_voice_may_be_an_object_with_an_id(client: TestClient) -> None:
    assert np.array_equal(pcm_of(client, voice={"id": "m2"}), pcm_of(client, voice="m2"))


def test_configured_aliases_and_the_configured_default_stand_for_their_voices(
    espeak: EspeakEngine, store: VoiceStore, settings: Settings
) -> None:
    voices = VoiceSettings(default="m3", aliases={"narrator": "m1", "alloy": "m2"})
    settings = settings.model_copy(update={"voices": voices})
    client = TestClient(build_app(espeak, store, settings, LocalMetrics()))

    for alias, preset in {"narrator": "m1", "alloy": "m2", "default": "m3"}.items():
        assert np.array_equal(pcm_of(client, voice=alias), pcm_of(client, voice=preset)), alias


@pytest.mark.parametrize("model", ["espeak", *MODEL_ALIASES])
def test_every_model_alias_speaks(client: TestClient, model: str) -> None:
    response = client.post("/v1/audio/speech", json=body(model=model, input="Hello."))

    assert response.status_code == 200
    assert response.headers["x-kubevoice-engine"] == "espeak"
    assert response.headers["x-kubevoice-model"].startswith("espeak@")


def test_a_language_changes_the_pronunciation(client: TestClient) -> None:
    english, german = pcm_of(client, language="en"), pcm_of(client, language="de")

    assert not np.array_equal(english, german)
    assert np.array_equal(english, pcm_of(client))


def test_instructions_are_accepted_and_the_answer_says_that_nobody_follows_them(client: TestClient) -> None:
    plain = client.post("/v1/audio/speech", json=body(input="Hi."))
    instructed = client.post("/v1/audio/speech", json=body(input="Hi.", instructions="whisper"))

    assert "x-kubevoice-warning" not in plain.headers
    assert instructed.headers["x-kubevoice-warning"] == "instructions are not followed"


@pytest.mark.parametrize("audio_format", ["mp3", "wav", "opus"])
def test_the_events_audio_is_the_audio_response_and_the_usage_adds_up(client: TestClient, audio_format: str) -> None:
    text = "First sentence here. And here comes the second one."
    response = client.post("/v1/audio/speech", json=body(input=text, stream_format="sse", response_format=audio_format))
    *deltas, done = events(response.text)

    assert response.headers["content-type"].startswith("text/event-stream")
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    assert len(deltas) >= 3
    audio = b"".join(base64.b64decode(event["audio"]) for event in deltas)
    assert audio == speak(client, input=text, response_format=audio_format)
    assert done["type"] == "speech.audio.done"
    usage = done["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens"] == len(text) - len(" ")  # characters of the sentences, without the blank between
    assert usage["output_tokens"] == pytest.approx(duration_of(audio) * 22050 / 1024, rel=0.1)


def test_a_long_text_leaves_in_many_pieces(client: TestClient) -> None:
    text = f"{SENTENCE} " * 20
    with client.stream("POST", "/v1/audio/speech", json=body(input=text, response_format="pcm")) as response:
        pieces = [piece for piece in response.iter_raw() if piece]

    assert len(pieces) > 20
    assert len(pieces[0]) < 0.05 * sum(map(len, pieces))


BAD_FIELDS: list[tuple[dict[str, object], int, str]] = [
    ({"input": ""}, 400, "input"),
    ({"input": " \t\n\u00a0\u2003"}, 400, "input"),
    ({"input": "..."}, 400, "input"),
    ({"input": "\0\0"}, 400, "input"),
    ({"input": "\u200b\ufeff"}, 400, "input"),
    ({"input": "x" * 4097}, 413, "input"),
    ({"input": "a " * 500_000}, 413, "input"),
    ({"input": None}, 400, "input"),
    ({"input": ["a"]}, 400, "input"),
    ({"input": {"text": "a"}}, 400, "input"),
    ({"input": 5}, 400, "input"),
    ({"input": "\ud800"}, 400, "input"),
    ({"model": "gpt-4"}, 404, "model"),
    ({"model": ""}, 400, "model"),
    ({"model": "../espeak"}, 404, "model"),
    ({"model": "m" * 129}, 400, "model"),
    ({"model": 1}, 400, "model"),
    ({"voice": "nobody"}, 404, "voice"),
    ({"voice": ""}, 400, "voice"),
    ({"voice": "v" * 129}, 400, "voice"),
    ({"voice": None}, 400, "voice"),
    ({"voice": 5}, 400, "voice"),
    ({"voice": ["alloy"]}, 400, "voice"),
    ({"voice": {}}, 400, "voice"),
    ({"voice": {"id": ""}}, 400, "voice"),
    ({"voice": {"id": 7}}, 400, "voice"),
    ({"voice": {"id": "alloy", "name": "x"}}, 400, "voice"),
    ({"voice": {"id": "nobody"}}, 404, "voice"),
    ({"voice": "../../etc/passwd"}, 404, "voice"),
    ({"voice": "/etc/passwd"}, 404, "voice"),
    ({"voice": "..\\..\\x"}, 404, "voice"),
    ({"voice": "a\0b"}, 404, "voice"),
    ({"voice": "\udfff"}, 400, "voice"),
    ({"voice": "' OR 1=1 --"}, 404, "voice"),
    ({"response_format": "exe"}, 400, "response_format"),
    ({"response_format": "MP3"}, 400, "response_format"),
    ({"response_format": None}, 400, "response_format"),
    ({"stream_format": "websocket"}, 400, "stream_format"),
    ({"speed": 0}, 400, "speed"),
    ({"speed": -1}, 400, "speed"),
    ({"speed": 0.2}, 400, "speed"),
    ({"speed": 4.1}, 400, "speed"),
    ({"speed": 10**400}, 400, "speed"),
    ({"speed": float("nan")}, 400, "speed"),
    ({"speed": float("inf")}, 400, "speed"),
    ({"speed": "fast"}, 400, "speed"),
    ({"speed": [1]}, 400, "speed"),
    ({"language": "klingon"}, 400, "language"),
    ({"language": "e"}, 400, "language"),
    ({"language": "en\0"}, 400, "language"),
    ({"language": "../en"}, 400, "language"),
    ({"instructions": "x" * 4097}, 400, "instructions"),
    ({"seed": -1}, 400, "seed"),
    ({"seed": 2**32}, 400, "seed"),
    ({"seed": 1.5}, 400, "seed"),
    ({"temperature": 0}, 400, "temperature"),
    ({"temperature": float("nan")}, 400, "temperature"),
    ({"top_k": 0}, 400, "top_k"),
    ({"top_p": float("-inf")}, 400, "top_p"),
    ({"repetition_penalty": 0.5}, 400, "repetition_penalty"),
    ({"volume": 11}, 400, "volume"),
    ({"k" * 50_000: 1}, 400, "k" * 100),
]


@pytest.mark.parametrize(("fields", "status", "param"), BAD_FIELDS, ids=lambda value: repr(value)[:40])
def test_a_bad_field_is_refused_by_name(
    client: TestClient, settings: Settings, fields: dict[str, object], status: int, param: str
) -> None:
    before = files_below(settings.data)
    response = client.post("/v1/audio/speech", content=json.dumps(body(**fields)), headers=JSON)

    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (status, param)
    assert param in error["message"]
    assert len(error["message"]) < 400
    assert files_below(settings.data) == before


GOOD = json.dumps(body()).encode()

BAD_BODIES: list[tuple[bytes, dict[str, str], str]] = [
    (b"", JSON, "invalid_body"),
    (b"{", JSON, "invalid_json"),
    (b'{"model": "tts-1", "input": "a"', JSON, "invalid_json"),
    (b"\xff\xfe\x00", JSON, "invalid_body"),
    (b"null", JSON, "invalid_body"),
    (b"[]", JSON, "invalid_body"),
    (b'"text"', JSON, "invalid_body"),
    (b"3", JSON, "invalid_body"),
    (b"[" * 100_000, JSON, "invalid_body"),
    (b'{"\\ud800": 1}', JSON, "invalid_body"),
    (b"{}", JSON, "missing_field"),
    (GOOD, {"Content-Type": "text/plain"}, "invalid_body"),
    (GOOD, {"Content-Type": "application/x-www-form-urlencoded"}, "invalid_body"),
    (GOOD, {"Content-Type": "multipart/form-data; boundary=x"}, "invalid_body"),
    (GOOD, {"Content-Type": "\x7f;;;==="}, "invalid_body"),
    (GOOD, {}, "invalid_body"),
]


@pytest.mark.parametrize(("content", "headers", "code"), BAD_BODIES, ids=lambda value: repr(value)[:40])
def test_a_bad_body_is_refused(client: TestClient, content: bytes, headers: dict[str, str], code: str) -> None:
    response = client.post("/v1/audio/speech", content=content, headers=headers)

    assert response.status_code == 400
    assert response.json()["error"]["code"] == code


def test_after_all_refusals_the_server_is_ready_and_speaks(client: TestClient) -> None:
    for fields, _, _ in BAD_FIELDS:
        client.post("/v1/audio/speech", content=json.dumps(body(**fields)), headers=JSON)
    for content, headers, _ in BAD_BODIES:
        client.post("/v1/audio/speech", content=content, headers=headers)

    assert client.get("/readyz").status_code == 200
    assert not is_silent(pcm_of(client, input="Still here."))


def test_nul_characters_inside_a_text_are_blanks(client: TestClient) -> None:
    assert np.array_equal(pcm_of(client, input="one\0two"), pcm_of(client, input="one two"))


def test_many_requests_at_once_each_get_their_own_audio(
    espeak: EspeakEngine, store: VoiceStore, settings: Settings
) -> None:
    app = build_app(espeak, store, settings, LocalMetrics())
    texts = [f"This is sentence number {number}." for number in range(12)]

    async def all_at_once() -> list[bytes]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            requests = [http.post("/v1/audio/speech", json=body(input=text, response_format="pcm")) for text in texts]
            return [answer.content for answer in await asyncio.gather(*requests)]

    assert asyncio.run(all_at_once()) == [speak(TestClient(app), input=text, response_format="pcm") for text in texts]


def test_sampling_options_that_the_engine_ignores_are_named(client: TestClient) -> None:
    body = {"model": "tts-1", "voice": "alloy", "input": "Hi.", "top_p": 0.5, "temperature": 0.7}
    warning = client.post("/v1/audio/speech", json=body).headers["x-kubevoice-warning"]
    assert warning == "temperature is ignored by engine espeak; top_p is ignored by engine espeak"
