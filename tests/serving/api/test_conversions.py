"""``POST /v1/audio/conversions``: a recording, whole or as it comes."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.audio.encode import FORMATS
from serving.audio.pcm import to_int16
from serving.audio.wav import wav_bytes
from serving.engines.conversion import ConversionOptions
from serving.errors import EngineError, InvalidRequest, ModelFilesError, Overloaded
from serving.settings import Settings
from serving.settings_groups import LimitSettings
from tests.audio_measure import decode_any, dominant_frequency, noise, rms, tone
from tests.serving.api.asgi import Exchange, until
from tests.serving.api.conversion_client import RATE, ROUTE, SOUND, WAV, convert, error_of, samples, spoken, stream
from tests.serving.api.scripted_converter import GAIN, ScriptedConverter


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app)


@pytest.mark.parametrize("audio_format", FORMATS)
def test_a_recording_comes_back_in_every_format_at_a_rate_that_is_said(client: TestClient, audio_format: str) -> None:
    response = convert(client, response_format=audio_format)

    assert response.status_code == 200, response.text
    rate = int(response.headers["x-kubevoice-sample-rate"])
    assert rate == {"opus": 48000, "mp3": 44100, "aac": 44100}.get(audio_format, 40000)
    if audio_format == "pcm":
        assert response.headers["content-type"] == f"audio/pcm;rate={rate}"
        pcm, found = samples(response.content), rate
    else:
        assert response.headers["content-type"] == FORMATS[audio_format].media_type
        pcm, found = decode_any(response.content)
    assert found == rate
    assert dominant_frequency(pcm[rate : 3 * rate], rate) == pytest.approx(440, abs=1)
    # A quarter of the converter's own loudness, the rest the input's: rms_mix_rate.
    assert rms(pcm[rate : 3 * rate]) == pytest.approx(GAIN**0.25 * 0.3 / 2**0.5, rel=0.07)
    if audio_format in ("wav", "pcm", "flac"):
        assert len(pcm) == 6 * rate


@pytest.mark.parametrize("length", [1, 160, 23_999, 60_001, 131_071])
@pytest.mark.parametrize("rate", [8000, 22050, 40000, 44100, 48000])
def test_the_result_is_as_long_as_the_input_to_the_sample(client: TestClient, length: int, rate: int) -> None:
    sound = noise(6, RATE)[:length]
    for response in (
        convert(client, wav_bytes(sound, RATE), sample_rate=rate, response_format="pcm"),
        stream(client, wav_bytes(sound, RATE), sample_rate=rate, response_format="pcm"),
    ):
        if not round(length * rate / RATE):
            continue
        assert response.headers["content-type"] == f"audio/pcm;rate={rate}"
        assert len(response.content) == 2 * round(length * rate / RATE)


def test_a_body_is_converted_the_same_however_it_comes_and_sounds_like_the_form(client: TestClient) -> None:
    whole = stream(client, WAV, seed=7).content
    form, _ = decode_any(convert(client, seed=7).content)
    streamed, _ = decode_any(whole)
    assert len(form) == len(streamed)
    assert rms(form - streamed) < 0.05 * rms(streamed)
    pieces = (WAV[start : start + 997] for start in range(0, len(WAV), 997))
    assert stream(client, pieces, seed=7).content == whole
    raw = stream(client, to_int16(SOUND).tobytes(), "audio/pcm; rate=24000", seed=7).content
    assert raw == whole


async def test_a_stream_is_answered_before_it_ends(app: FastAPI, converter: ScriptedConverter) -> None:
    exchange = live(app)
    await exchange.send(to_int16(tone(440, 2.5, RATE)).tobytes())
    first = len(await exchange.first_bytes())
    assert exchange.status == 200
    for _ in range(4):
        await exchange.send(to_int16(tone(440, 2.0, RATE)).tobytes())
    await until(lambda: len(exchange.body) > first)
    assert not exchange.complete
    await exchange.send(b"", more=False)
    await exchange.end()
    assert len(exchange.body) == 2 * round(10.5 * 40000)


def live(app: FastAPI, kind: str = "audio/pcm; rate=24000", **fields: object) -> Exchange:
    """A request whose body is still being sent; the loudness is the voice's own, so that nothing is held back."""
    query = {"model": "Ada", "response_format": "pcm", "rms_mix_rate": 1, **fields}
    return Exchange(
        app, "POST", ROUTE, body=None, query=urlencode(query).encode(), headers={b"content-type": kind.encode()}
    )


def test_options_reach_the_converter_with_a_seed_and_the_voice(
    client: TestClient, converter: ScriptedConverter, settings: Settings
) -> None:
    fields: dict[str, Any] = {
        "pitch": -12.5, "f0_method": "crepe", "index_rate": 0, "filter_radius": 7, "rms_mix_rate": 1, "protect": 0,
        "formant": 2, "speaker": 1,
    }  # fmt: skip
    assert convert(client, seed=3, **fields).status_code == 200
    index, voice, options, seed = converter.asked[0]
    assert (index, seed, voice.sample_rate) == (0, 3, 40000)
    assert voice.directory == settings.data / "models" / "rvc" / voice.id / "r1"
    assert options == ConversionOptions(**fields)
    assert stream(client, WAV, seed=3, **fields).status_code == 200
    assert converter.asked[len(converter.asked) // 2][2] == options
    assert convert(client).status_code == 200
    assert converter.asked[-1][2] == ConversionOptions()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pitch", 24.5), ("pitch", "nan"), ("pitch", "high"), ("f0_method", "harvest"), ("index_rate", 1.1),
        ("index_rate", -0.1), ("filter_radius", 8), ("rms_mix_rate", 2), ("protect", 0.6), ("formant", 13),
        ("speaker", -1), ("speaker", 2), ("seed", -1), ("response_format", "m4a"), ("sample_rate", 48001),
        ("sample_rate", 4000), ("model", ""), ("model", "x" * 129), ("pitsch", 1),
    ],
)  # fmt: skip
def test_a_bad_option_is_refused_by_name_in_the_form_and_in_the_query(
    client: TestClient, converter: ScriptedConverter, settings: Settings, field: str, value: object
) -> None:
    fields: dict[str, Any] = {field: value}
    assert error_of(convert(client, **fields)) == (400, field)
    assert error_of(stream(client, WAV, **fields)) == (400, field)
    assert converter.asked == []
    assert not list((settings.data / ".staging").iterdir())


def test_a_rate_that_the_format_does_not_take_is_refused_with_those_it_takes(client: TestClient) -> None:
    response = convert(client, response_format="opus", sample_rate=44100)
    assert error_of(response) == (400, "sample_rate")
    assert "8000, 12000, 16000, 24000, 48000" in response.json()["error"]["message"]
    assert convert(client, response_format="flac", sample_rate=44100).status_code == 200


@pytest.mark.parametrize("key", ["nobody", "../x", "rvc_" + "0" * 24])
def test_an_unknown_model_is_404(client: TestClient, key: str) -> None:
    for response in (convert(client, model=key), stream(client, WAV, model=key)):
        assert error_of(response) == (404, "model")
        assert response.json()["error"]["code"] == "model_not_found"


def test_a_field_is_given_once(client: TestClient) -> None:
    response = client.post(f"{ROUTE}?model=Ada", data={"model": "Ada"}, files={"file": ("a.wav", WAV)})
    assert error_of(response) == (400, "model")
    assert client.post(f"{ROUTE}?model=Ada", files={"file": ("a.wav", WAV)}).status_code == 200
    assert error_of(
        client.post(f"{ROUTE}?model=Ada&model=Eve", content=WAV, headers={"Content-Type": "audio/wav"})
    ) == (
        400,
        "model",
    )


BAD_AUDIO = {
    "empty": b"", "text": b"hello, this is not audio" * 100, "half a wav": WAV[: len(WAV) // 2], "header": WAV[:44],
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_AUDIO)
def test_a_bad_recording_is_refused_before_anything_is_converted(
    client: TestClient, converter: ScriptedConverter, settings: Settings, name: str
) -> None:
    assert error_of(convert(client, BAD_AUDIO[name])) == (400, "file")
    if name != "half a wav":
        assert error_of(stream(client, BAD_AUDIO[name])) == (400, "file")
    assert converter.asked == []
    assert not list((settings.data / ".staging").iterdir())


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/json", "application/x-www-form-urlencoded", "video/mp4"]
)
def test_a_body_of_another_kind_is_refused_with_the_kinds_there_are(client: TestClient, kind: str) -> None:
    response = client.post(f"{ROUTE}?model=Ada", content=WAV, headers={"Content-Type": kind})
    assert error_of(response) == (400, "Content-Type")
    assert "audio/pcm; rate=24000" in response.json()["error"]["message"]


def limited(app: FastAPI, **limits: Any) -> TestClient:
    context = app.state.context
    context.settings = context.settings.model_copy(update={"limits": LimitSettings(**limits)})
    return TestClient(app, raise_server_exceptions=False)


def test_a_recording_over_a_limit_is_refused(app: FastAPI, settings: Settings) -> None:
    client = limited(app, conversion_max_s=1.0)
    assert error_of(convert(client)) == (413, "file")
    assert error_of(stream(client, WAV)) == (413, "file")
    client = limited(app, conversion_bytes=50_000)
    assert error_of(convert(client)) == (413, "file")
    assert error_of(stream(client, WAV)) == (413, "file")
    unsized = (WAV[start : start + 5000] for start in range(0, len(WAV), 5000))
    assert error_of(stream(client, unsized)) == (413, "file")
    assert not list((settings.data / ".staging").iterdir())


@pytest.mark.parametrize(
    ("error", "status", "param"),
    [
        (Overloaded("busy", 3), 429, None),
        (InvalidRequest("this voice has no pitch", "pitch"), 400, "pitch"),
        (EngineError("out of memory"), 500, None),
        (ModelFilesError("weights.safetensors is torn"), 503, None),
    ],
)
def test_what_fails_before_the_first_sound_is_a_status(
    client: TestClient, converter: ScriptedConverter, settings: Settings, error: Exception, status: int, param: str
) -> None:
    converter.failures = {0: error}
    assert error_of(convert(client)) == (status, param)
    assert error_of(stream(client, WAV)) == (status, param)
    answer = client.post("/v1/audio/speech", json=spoken())
    assert error_of(answer) == (status, param and f"conversion.{param}")
    assert converter.running == 0
    assert not list((settings.data / ".staging").iterdir())


async def test_what_fails_later_breaks_the_stream(app: FastAPI, converter: ScriptedConverter) -> None:
    converter.failures = {2: EngineError("out of memory")}
    exchange = live(app)
    for _ in range(6):
        await exchange.send(to_int16(tone(440, 2.0, RATE)).tobytes())
    with pytest.raises(Exception, match="out of memory"):
        await exchange.end()
    assert exchange.status == 200
    assert 0 < len(exchange.body) < 2 * 12 * 40000
    assert not exchange.complete


@pytest.mark.parametrize("by_message", [True, False])
async def test_a_client_that_leaves_stops_the_work_and_leaves_nothing(
    app: FastAPI, converter: ScriptedConverter, settings: Settings, by_message: bool
) -> None:
    converter.hold = asyncio.Event()
    exchange = Exchange(
        app,
        "POST",
        ROUTE,
        body=_form(wav_bytes(tone(440, 30.0, RATE), RATE)),
        headers={b"content-type": b"multipart/form-data; boundary=b"},
        spec_version="2.3" if by_message else "2.4",
    )
    await exchange.first_bytes()
    await exchange.leave(by_message=by_message)
    if not by_message:
        converter.hold.set()
    await exchange.end()
    await until(lambda: converter.running == 0)
    await until(lambda: not list((settings.data / ".staging").iterdir()))
    assert not exchange.complete


async def test_a_client_that_leaves_within_its_stream_stops_the_work(
    app: FastAPI, converter: ScriptedConverter
) -> None:
    exchange = live(app)
    await exchange.send(to_int16(tone(440, 2.5, RATE)).tobytes())
    await exchange.first_bytes()
    await exchange.leave()
    await exchange.end()
    await until(lambda: converter.running == 0)
    assert not exchange.complete


async def test_a_client_that_leaves_before_the_first_sound_stops_the_work(
    app: FastAPI, converter: ScriptedConverter
) -> None:
    exchange = live(app)
    await exchange.send(to_int16(tone(440, 0.5, RATE)).tobytes())
    await asyncio.sleep(0.1)
    await exchange.leave()
    await exchange.end()
    assert (exchange.status, converter.running) == (None, 0)


def _form(audio: bytes) -> bytes:
    fields = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {"model": "Ada", "response_format": "pcm", "rms_mix_rate": "1"}.items()
    )
    head = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    return (fields + head).encode() + audio + b"\r\n--b--\r\n"


@pytest.mark.parametrize("send", [convert, stream])
def test_a_recording_of_which_nothing_is_left_is_refused_by_its_name(client: TestClient, send: Any) -> None:
    one = wav_bytes(np.full(1, 0.5, np.float32), 48000)
    assert error_of(send(client, one, sample_rate=8000)) == (400, "file")
