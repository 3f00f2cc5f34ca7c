"""What the running server promises beside speech: cancellation, recovery, metrics, bounded memory."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.servers import Server

pytestmark = [pytest.mark.xdist_group("espeak_server"), pytest.mark.timeout(600)]

TIMEOUT_S = 60.0
"""Of a request, on a machine that is busy with other tests; most take milliseconds."""

LONG = " ".join(f"Sentence {index} of a text that goes on for quite some time." for index in range(70))


def speech(text: str, **fields: object) -> dict[str, object]:
    return {"model": "tts-1", "voice": "alloy", "input": text, **fields}


def eventually(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.25)


def total(server: Server, sample: str, **labels: str) -> float:
    """The sum of a sample over its remaining labels, as scraped from the server."""
    text = metrics(server)
    return sum(
        row.value
        for family in text_string_to_metric_families(text)
        for row in family.samples
        if row.name == sample and labels.items() <= row.labels.items()
    )


def metrics(server: Server) -> str:
    return httpx.get(f"{server.url}/metrics", timeout=TIMEOUT_S).text


def ready(server: Server) -> bool:
    return httpx.get(f"{server.url}/readyz", timeout=TIMEOUT_S).status_code == 200


def test_the_printed_curl_speaks(espeak_server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("curl")
    curls: list[str] = []

    def printed() -> bool:  # the line comes after the one that says that the server is ready
        curls[:] = [line.strip() for line in espeak_server.lines if line.strip().startswith("curl ")]
        return bool(curls)

    eventually(printed)
    (command,) = curls
    subprocess.run(command, shell=True, cwd=folder, check=True, timeout=120)
    audio = (folder / "hello.mp3").read_bytes()
    assert len(audio) > 5000
    assert audio[0] == 0xFF


def test_the_check_command_hears_the_server_speak(espeak_server: Server) -> None:
    command = [sys.executable, "-m", "serving.cli", "check", espeak_server.url, "--voice", "alloy"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(
        r"espeak@\S+ on engine espeak: first byte after \S+ s, [23]\.\d+ s of audio, real-time factor \S+\n",
        result.stdout,
    )


def test_a_client_that_leaves_stops_the_work(espeak_server: Server) -> None:
    before = total(espeak_server, "ray_kubevoice_cancelled_total")
    address = urlsplit(espeak_server.url)
    body = httpx.Request("POST", espeak_server.url, json=speech(LONG, response_format="wav")).read()
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = [
            "POST /v1/audio/speech HTTP/1.1",
            "Host: x",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    eventually(lambda: total(espeak_server, "ray_kubevoice_cancelled_total") > before)
    eventually(lambda: total(espeak_server, "ray_kubevoice_active_streams") == 0)
    eventually(lambda: ready(espeak_server))


def test_metrics_tell_what_happened(espeak_server: Server) -> None:
    made = total(espeak_server, "ray_kubevoice_audio_seconds_total")
    refused = total(espeak_server, "ray_kubevoice_refusals_total", reason="voice_not_found")
    url = f"{espeak_server.url}/v1/audio/speech"
    httpx.post(url, json=speech("One two three four five."), timeout=TIMEOUT_S).raise_for_status()
    assert httpx.post(url, json={**speech("x"), "voice": "nobody"}, timeout=TIMEOUT_S).status_code == 404
    eventually(lambda: total(espeak_server, "ray_kubevoice_audio_seconds_total") > made + 1)
    eventually(lambda: total(espeak_server, "ray_kubevoice_refusals_total", reason="voice_not_found") == refused + 1)
    for sample in (
        "ray_kubevoice_requests_total",
        "ray_kubevoice_first_audio_seconds_count",
        "ray_kubevoice_real_time_factor_count",
        "ray_kubevoice_model_loads_total",
    ):
        assert total(espeak_server, sample) > 0, sample
    size = total(espeak_server, "ray_kubevoice_volume_size_bytes")
    assert 0 < total(espeak_server, "ray_kubevoice_volume_free_bytes") < size
    assert "\nray_kubevoice_queue_age_seconds{" in metrics(espeak_server)
    assert "\nray_kubevoice_broken_streams_total{" in metrics(espeak_server), "zero, but there"


def test_memory_of_the_ingress_does_not_grow_with_the_audio(espeak_server: Server) -> None:
    ingress = espeak_server.replicas("Ingress")[0]

    def speak(text: str) -> None:
        answer = httpx.post(
            f"{espeak_server.url}/v1/audio/speech", json=speech(text, response_format="pcm", speed=0.25), timeout=300
        )
        answer.raise_for_status()

    for _ in range(3):
        speak(LONG[:400])
    before = ingress.memory_info().rss
    for _ in range(2):
        speak(LONG[:4000])  # 20 minutes of audio each: 55 MB as pcm
    assert ingress.memory_info().rss - before < 40 * 2**20


def test_a_killed_speech_replica_costs_no_request(espeak_server: Server) -> None:
    victim = espeak_server.replicas("Espeak")[0]
    victim.kill()
    answer = httpx.post(f"{espeak_server.url}/v1/audio/speech", json=speech("Still here."), timeout=180)
    assert answer.status_code == 200, answer.text
    eventually(lambda: ready(espeak_server))
    assert espeak_server.replicas("Espeak")[0].pid != victim.pid


def test_bad_input_leaves_the_server_ready_and_the_volume_clean(espeak_server: Server) -> None:
    def listing() -> list[str]:
        names = (str(path.relative_to(espeak_server.data)) for path in espeak_server.data.rglob("*"))
        return sorted(name for name in names if not name.startswith("kubevoice.db"))

    url = f"{espeak_server.url}/v1/audio"
    before = listing()
    with httpx.Client(timeout=TIMEOUT_S) as client:
        cases = [
            (client.post(f"{url}/speech", json=speech("x" * 1_000_000)), "input"),
            (client.post(f"{url}/speech", json=speech("hi", speed=0)), "speed"),
            (client.post(f"{url}/speech", content=b"{", headers={"content-type": "application/json"}), None),
            (
                client.post(f"{url}/voices", data={"name": "a"}, files={"audio_sample": b"PK\x03\x04" + bytes(500)}),
                "audio_sample",
            ),
            (client.post(f"{url}/voices", data={"name": "../a"}, files={"audio_sample": b"RIFF"}), "name"),
            (
                client.post(f"{url}/voices", data={"name": "a"}, files={"audio_sample": bytes(11 * 2**20)}),
                "audio_sample",
            ),
        ]
    for answer, param in cases:
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.json()["error"]["param"] == param, answer.text
    assert listing() == before
    eventually(lambda: ready(espeak_server))
