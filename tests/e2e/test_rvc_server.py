"""Voice conversion by a real replica: a voice that was uploaded, recordings and speech in it."""

from __future__ import annotations

import io
import socket
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from serving.audio.pcm import Pcm
from serving.audio.wav import wav_bytes
from serving.deployments.conversion import FORGET_PERIOD_S
from serving.engines.rvc.engine import PAUSE_S
from tests.audio_measure import decode_any, is_silent
from tests.e2e.conftest import RvcStart
from tests.e2e.servers import Server
from tests.factories.faiss_index import build_index, feature_vectors, write_index
from tests.factories.rvc import make_voice, training_content

pytestmark = [pytest.mark.xdist_group("rvc_server"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def client(rvc_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=rvc_server.url, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def model(client: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A voice with an index, uploaded as its owner would."""
    folder = tmp_path_factory.mktemp("upload")
    weights = make_voice(folder / "singer.pth")
    index = write_index(folder / "added.index", build_index(feature_vectors(200, 768), "IVF4,Flat"))
    answer = upload(client, "singer", weights, index)
    assert answer.status_code == 200, answer.text
    card: dict[str, Any] = answer.json()
    return card


def upload(client: httpx.Client, name: str, weights: Path, index: Path | None = None) -> httpx.Response:
    files = {"file": (weights.name, weights.read_bytes())}
    if index:
        files["index"] = (index.name, index.read_bytes())
    return client.post("/v1/conversion-models", data={"name": name}, files=files)


def test_without_its_weights_conversion_says_what_is_missing_and_everything_else_works(rvc_start: RvcStart) -> None:
    assert rvc_start.spoken.status_code == 200
    assert rvc_start.refused.status_code == 503
    assert "kubevoice models pull rvc-base" in rvc_start.refused.json()["error"]["message"]
    assert any("voice conversion is off" in line for line in rvc_start.server.lines)


def hum(seconds: float, rate: int = 24000) -> Pcm:
    time = np.arange(int(seconds * rate)) / rate
    pcm: Pcm = (0.3 * np.sin(2 * np.pi * 150 * time + 3 * np.sin(2 * np.pi * 4 * time))).astype(np.float32)
    return pcm


def convert(client: httpx.Client, pcm: Pcm, **options: Any) -> httpx.Response:
    form = {"model": "singer", "response_format": "wav", "seed": "1", **options}
    return client.post(
        "/v1/audio/conversions", data=form, files={"file": ("hum.wav", wav_bytes(pcm, 24000), "audio/wav")}
    )


def samples(wav: bytes) -> tuple[Pcm, int]:
    with wave.open(io.BytesIO(wav)) as file:
        rate = file.getframerate()
    pcm: Pcm = np.frombuffer(wav[44:], "<i2").astype(np.float32) / np.float32(32768)
    return pcm, rate


def test_an_uploaded_voice_is_listed_with_what_its_weights_say(client: httpx.Client, model: dict[str, Any]) -> None:
    facts = {"name": "singer", "version": "v2", "sample_rate": 40000, "f0": True, "index_vectors": 200}
    assert model.items() >= facts.items()
    assert model["id"] in {card["id"] for card in client.get("/v1/conversion-models").json()["data"]}
    assert client.get("/v1/conversion-models/singer").json() == model


def test_a_recording_is_converted_to_its_length_at_the_voice_s_own_rate(
    client: httpx.Client, model: dict[str, Any]
) -> None:
    pcm = hum(2.5)
    answer = convert(client, pcm)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-kubevoice-sample-rate"] == "40000"
    assert answer.headers["x-kubevoice-conversion"] == model["id"]
    converted, rate = samples(answer.content)
    assert rate == 40000
    assert len(converted) == round(len(pcm) * 40000 / 24000)
    assert not is_silent(converted)
    assert convert(client, pcm).content == answer.content
    higher, _ = samples(convert(client, pcm, pitch="12").content)
    assert np.abs(higher - converted).max() > 0.01


def test_a_recording_that_still_arrives_is_answered_already(rvc_server: Server, model: dict[str, Any]) -> None:
    pcm = (np.clip(hum(6.0), -1, 1) * 32767).astype("<i2").tobytes()
    first, rest = pcm[:192_000], pcm[192_000:]  # four seconds; a window of one and a second behind it would do
    address = urlsplit(rvc_server.url)
    head = (
        "POST /v1/audio/conversions?model=singer&response_format=pcm&seed=1&rms_mix_rate=1 HTTP/1.1\r\n"
        f"Host: {address.netloc}\r\nContent-Type: audio/pcm; rate=24000\r\nTransfer-Encoding: chunked\r\n"
        "Connection: close\r\n\r\n"
    )
    # HTTP clients send all of a body before they read; this one does both at a time.
    with socket.create_connection((address.hostname, address.port), timeout=120) as connection:
        connection.sendall(head.encode() + chunk(first))
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        while len(answer) < 10_000:
            answer += connection.recv(65536)
        connection.sendall(chunk(rest) + chunk(b""))
        while piece := connection.recv(65536):
            answer += piece
    assert len(unchunked(answer.split(b"\r\n\r\n", 1)[1])) == 2 * round(len(pcm) / 2 * 40000 / 24000)


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def unchunked(body: bytes) -> bytes:
    data = b""
    while size := int(body[: body.index(b"\r\n")], 16):
        start = body.index(b"\r\n") + 2
        data += body[start : start + size]
        body = body[start + size + 2 :]
    return data


def test_speech_comes_in_the_converted_voice_and_never_in_the_plain_one(
    client: httpx.Client, model: dict[str, Any]
) -> None:
    body = {"model": "auto", "voice": "alloy", "input": "This is said by another voice.", "response_format": "wav"}
    plain, _ = decode_any(client.post("/v1/audio/speech", json={**body, "seed": 1}).content)
    options = {"model": "singer", "rms_mix_rate": 1.0}
    answer = client.post("/v1/audio/speech", json={**body, "seed": 1, "conversion": options})
    assert answer.status_code == 200, answer.text
    converted, _ = decode_any(answer.content)
    assert not is_silent(converted)
    count = min(len(plain), len(converted))
    assert np.abs(plain[:count] - converted[:count]).max() > 0.01
    absent = client.post("/v1/audio/speech", json={**body, "conversion": {"model": "nobody"}})
    assert absent.status_code == 404
    assert absent.json()["error"]["param"] == "conversion.model"


def test_what_is_no_voice_is_refused_and_nothing_of_it_stays(
    client: httpx.Client, rvc_server: Server, tmp_path: Path
) -> None:
    import torch

    before = sorted((rvc_server.data / "models" / "rvc").glob("*"))
    torch.save(training_content(), tmp_path / "G_2333333.pth")
    (tmp_path / "noise.pth").write_bytes(b"not a voice" * 100)
    for name in ("G_2333333.pth", "noise.pth"):
        answer = upload(client, "bad", tmp_path / name)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == "file"
    assert sorted((rvc_server.data / "models" / "rvc").glob("*")) == before
    assert "bad" not in {card["name"] for card in client.get("/v1/conversion-models").json()["data"]}


def test_a_replica_that_is_killed_costs_nobody_who_comes_after(
    client: httpx.Client, rvc_server: Server, model: dict[str, Any]
) -> None:
    expected = convert(client, hum(1.0)).content
    (replica,) = rvc_server.replicas("Rvc")
    replica.kill()
    answer = convert(client, hum(1.0))
    assert answer.status_code == 200, answer.text
    before, after = samples(expected)[0], samples(answer.content)[0]
    assert len(before) == len(after)
    assert np.abs(before - after).max() <= 2 / 32768  # another process may round otherwise, by a step of 16 bits


def test_a_deleted_voice_is_gone(client: httpx.Client, model: dict[str, Any], tmp_path: Path) -> None:
    card = upload(client, "passing", make_voice(tmp_path / "passing.pth", seed=1)).json()
    assert client.delete(f"/v1/conversion-models/{card['id']}").status_code == 200
    assert client.get("/v1/conversion-models/passing").status_code == 404
    assert convert(client, hum(0.5), model="passing").status_code == 404


def test_a_deleted_voice_leaves_the_replicas_memory_within_seconds(
    client: httpx.Client, rvc_server: Server, tmp_path: Path
) -> None:
    voice = upload(client, "heard", make_voice(tmp_path / "heard.pth", seed=2)).json()["id"]
    assert convert(client, hum(0.5), model="heard").status_code == 200
    assert client.delete(f"/v1/conversion-models/{voice}").status_code == 200
    assert not list((rvc_server.data / ".trash").glob(f"{voice}*"))
    deadline = time.monotonic() + PAUSE_S + 2 * FORGET_PERIOD_S + 15
    while not any(f"voice {voice} leaves memory" in line for line in list(rvc_server.lines)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
