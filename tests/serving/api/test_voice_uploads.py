"""Uploads of voices that are refused, or undone, and leave nothing behind."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
import zipfile

import av
import numpy as np
import pytest
from starlette.testclient import TestClient

from serving.api import build_app
from serving.api.voices import _added
from serving.audio.wav import wav_bytes
from serving.errors import EngineError, InvalidRequest, Unavailable
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.settings_groups import LimitSettings
from serving.store.voices import VoiceProfile, VoiceStore
from tests.audio_measure import Pcm, noise, tone
from tests.serving.api.asgi import Exchange, until
from tests.serving.api.listing import files_below
from tests.serving.api.scripted import ScriptedSpeech
from tests.serving.api.voice_uploads import FILE, FORM, NAME, RATE, REFERENCE, part, scripted, upload


def mp3(pcm: Pcm, rate: int, bit_rate: int = 64_000) -> bytes:
    sink = io.BytesIO()
    with av.open(sink, mode="w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="mono")
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(pcm[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return sink.getvalue()


def zipped() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ada.wav", REFERENCE)
    return sink.getvalue()


BAD_AUDIO: list[tuple[str, bytes, int]] = [
    ("zip", zipped(), 400),
    ("empty", b"", 400),
    ("text", b"hello, this is not audio" * 100, 400),
    ("html", b"<html><body>502</body></html>", 400),
    ("playlist", b"#EXTM3U\n/etc/passwd\n", 400),
    ("pickle", b"\x80\x04\x95\x00\x00\x00\x00", 400),
    ("half an mp3", mp3(tone(220, 4.0, RATE), RATE)[: 2000 + 333], 400),
    ("half a wav", REFERENCE[: len(REFERENCE) // 2], 400),
    ("header of a wav", REFERENCE[:44], 400),
    ("too short", wav_bytes(tone(220, 0.3, RATE), RATE), 400),
    ("silence", wav_bytes(np.zeros(2 * RATE, np.float32), RATE), 400),
    ("long mp3", mp3(noise(300.0, 8000), 8000, bit_rate=8_000), 413),
]


@pytest.mark.parametrize(("audio", "status"), [case[1:] for case in BAD_AUDIO], ids=[case[0] for case in BAD_AUDIO])
def test_bad_audio_is_refused_by_name_and_leaves_nothing(
    client: TestClient, settings: Settings, audio: bytes, status: int
) -> None:
    before = files_below(settings.data)
    response = upload(client, audio=audio)

    assert (response.status_code, response.json()["error"]["param"]) == (status, "audio_sample"), response.text
    assert files_below(settings.data) == before
    assert client.get("/readyz").status_code == 200
    assert upload(client).status_code == 200  # and the name is still free


def test_two_hours_of_mp3_are_refused_within_seconds(store: VoiceStore, settings: Settings) -> None:
    two_minutes = mp3(noise(120.0, 8000), 8000, bit_rate=8_000)
    client = scripted(ScriptedSpeech(), store, settings)

    response = upload(client, audio=two_minutes * 60)

    assert response.status_code == 413
    assert response.json()["error"]["param"] == "audio_sample"
    assert response.elapsed.total_seconds() < 10


@pytest.mark.parametrize("declared", [True, False])
def test_a_huge_upload_is_refused_whether_or_not_it_declares_its_size(
    client: TestClient, settings: Settings, declared: bool
) -> None:
    before = files_below(settings.data)
    head = b'--b\r\nContent-Disposition: form-data; name="audio_sample"; filename="a.wav"\r\n\r\n'
    body = head + bytes(12 * 1024 * 1024)
    pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
    headers = {"Content-Type": "Multipart/Form-Data; boundary=b"}

    response = client.post("/v1/audio/voices", content=body if declared else pieces, headers=headers)

    assert (response.status_code, response.json()["error"]["param"]) == (413, "audio_sample")
    assert files_below(settings.data) == before


def test_an_upload_of_more_than_the_limit_is_refused_before_it_is_decoded(
    store: VoiceStore, settings: Settings
) -> None:
    settings = settings.model_copy(update={"limits": LimitSettings(upload_bytes=10_000)})
    response = upload(scripted(ScriptedSpeech(), store, settings))

    assert (response.status_code, response.json()["error"]["param"]) == (413, "audio_sample")


BAD_FORMS: list[tuple[bytes, str, str | None]] = [
    (b"", FORM, "name"),
    (NAME + b"--b--\r\n", FORM, "audio_sample"),
    (part("audio_sample", REFERENCE, FILE) + b"--b--\r\n", FORM, "name"),
    (NAME + part("audio_sample", b"not a file") + b"--b--\r\n", FORM, "audio_sample"),
    (part("name", b"") + part("audio_sample", REFERENCE, FILE) + b"--b--\r\n", FORM, "name"),
    (part("name", b"Ada", FILE) + part("audio_sample", REFERENCE, FILE) + b"--b--\r\n", FORM, "name"),
    (b"--b\r\n\r\nno disposition\r\n--b--\r\n", FORM, None),
    (b"no boundary at all", FORM, None),
    (NAME, "multipart/form-data", None),
    (b'{"name": "Ada"}', "application/json", "name"),
    (b"name=Ada&audio_sample=x", "application/x-www-form-urlencoded", "audio_sample"),
    (b"\xff" * 100, "application/x-www-form-urlencoded", "name"),
    (b"x", "text/plain", "name"),
    (b"".join(part(f"f{index}", b"x") for index in range(1100)), FORM, None),
    (part("name", b"x" * 2_000_000), FORM, None),
]


@pytest.mark.parametrize(("body", "content_type", "param"), BAD_FORMS, ids=lambda value: ascii(value)[:30])
def test_a_bad_form_is_refused_and_leaves_nothing(
    client: TestClient, settings: Settings, body: bytes, content_type: str, param: str | None
) -> None:
    before = files_below(settings.data)
    response = client.post("/v1/audio/voices", content=body, headers={"Content-Type": content_type})

    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param), error
    assert "class" not in error["message"]
    assert files_below(settings.data) == before


def test_the_files_name_is_never_a_path(client: TestClient, settings: Settings) -> None:
    assert upload(client, filename="../../../evil.wav").status_code == 200

    assert not [path for path in files_below(settings.data.parent) if "evil" in path]


@pytest.mark.parametrize(
    ("error", "status"),
    [(InvalidRequest("no speech in it", "audio_sample"), 400), (ValueError("a bug"), 500)],
)
def test_an_upload_is_rolled_back_when_the_engine_cannot_use_it(
    store: VoiceStore, settings: Settings, error: Exception, status: int
) -> None:
    engine = ScriptedSpeech()
    engine.prepare_error = error
    client = scripted(engine, store, settings, raise_bugs=False)

    assert upload(client).status_code == status
    assert not list((settings.data / "voices" / "default").iterdir())
    engine.prepare_error = None
    assert upload(client).status_code == 200


@pytest.mark.parametrize("error", [EngineError("out of memory"), Unavailable("loading")])
def test_an_upload_is_kept_when_only_the_engine_is_in_trouble(
    store: VoiceStore, settings: Settings, error: Exception
) -> None:
    engine = ScriptedSpeech()
    engine.prepare_error = error
    client = scripted(engine, store, settings)

    card = upload(client).json()
    assert client.get(f"/v1/audio/voices/{card['id']}").status_code == 200


async def test_an_upload_whose_client_is_cut_off_in_prepare_is_rolled_back(
    store: VoiceStore, settings: Settings
) -> None:
    class Hanging(ScriptedSpeech):
        async def prepare(self, voice: object) -> None:
            self.running += 1
            await asyncio.Event().wait()

    engine = Hanging()
    body = NAME + part("audio_sample", REFERENCE, FILE) + b"--b--\r\n"
    app = build_app(engine, store, settings, LocalMetrics())
    exchange = Exchange(app, "POST", "/v1/audio/voices", body=body, headers={b"content-type": FORM.encode()})
    await until(lambda: engine.running)
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange.task

    assert store.list("default") == []


def test_a_full_volume_is_said_as_such(store: VoiceStore, settings: Settings) -> None:
    client = scripted(ScriptedSpeech(), store, settings)
    (settings.data / ".staging").rmdir()
    (settings.data / ".staging").write_text("in the way of every write")
    response = upload(client)

    assert (response.status_code, response.json()["error"]["code"]) == (507, "storage")
    assert json.loads(response.text)["error"]["type"] == "server_error"


async def test_a_client_that_leaves_while_the_voice_is_stored_leaves_none_behind(
    store: VoiceStore, settings: Settings
) -> None:
    context = build_app(ScriptedSpeech(), store, settings, LocalMetrics()).state.context
    stored = threading.Event()

    def add_slowly() -> VoiceProfile:
        profile = store.add(tenant="default", name="Ada", references=[REFERENCE], reference_seconds=2.0)
        stored.set()
        time.sleep(0.1)
        return profile

    request = asyncio.create_task(_added(asyncio.create_task(asyncio.to_thread(add_slowly)), context))
    await asyncio.to_thread(stored.wait)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert store.list("default") == []
