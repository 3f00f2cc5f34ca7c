"""A model is promoted and rolled back under requests, and the server is never restarted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import numpy as np
import pytest

from serving.audio.pcm import Pcm
from serving.store.manifest import write_manifest
from serving.store.volume import Volume
from tests.audio_measure import decode_any
from tests.e2e.servers import Server
from tests.serving.deployments.revisions import NEW_PRESET, checkpoint

pytestmark = [pytest.mark.xdist_group("xtts_server"), pytest.mark.timeout(600)]

TEXT = "A sentence for the model that speaks."
LONG = " ".join([TEXT] * 40)
"""Four calls of the replica, the last of which begin long after the first."""

PATIENCE_S = 240.0


@pytest.fixture
def run(xtts_server: Server) -> str:
    """A training run with an export, whose speakers are not quite those of the model that serves."""
    directory = Volume(xtts_server.data).training_run("default", "narrator")
    export = checkpoint("r2", directory / "export" / "narrator-1")
    write_manifest(export, {"verified": {"by": "test factory"}})
    return "default/narrator"


def command(server: Server, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "serving.cli", "models", *arguments, "--data", str(server.data)],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("KUBEVOICE_")},
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def speak(server: Server, text: str = TEXT, voice: str = "alloy") -> httpx.Response:
    body = {"model": "tts-1", "voice": voice, "input": text, "response_format": "wav", "seed": 5}
    return httpx.post(f"{server.url}/v1/audio/speech", json=body, timeout=PATIENCE_S)


def pcm(answer: httpx.Response) -> Pcm:
    assert answer.status_code == 200, answer.text
    return decode_any(answer.content)[0]


def same(one: Pcm, other: Pcm) -> bool:
    """To a step of 16 bits, as for concurrent requests."""
    return len(one) == len(other) and bool(np.abs(one - other).max() <= 2 / 32768)


def wait_until_serving(server: Server, revision: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (card := httpx.get(f"{server.url}/v1/models/tts-1", timeout=60).json())["revision"] != revision:
        assert time.monotonic() < deadline, card
        time.sleep(0.3)


@contextmanager
def steady_requests(server: Server) -> Iterator[list[httpx.Response]]:
    """Two callers, each with its next request when it has its answer; what they have got so far."""
    answers: list[httpx.Response] = []
    done = threading.Event()

    def call() -> None:
        while not done.is_set():
            answers.append(speak(server))

    with ThreadPoolExecutor(2) as pool:
        callers = [pool.submit(call) for _ in range(2)]
        try:
            yield answers
        finally:
            done.set()
        for caller in callers:
            caller.result()


def test_a_run_is_promoted_and_rolled_back_under_requests_of_which_none_fails(xtts_server: Server, run: str) -> None:
    replicas = {process.pid for process in xtts_server.replicas("Xtts")}
    old, old_long = pcm(speak(xtts_server)), pcm(speak(xtts_server, LONG))
    with steady_requests(xtts_server) as answers, ThreadPoolExecutor(1) as pool:
        try:
            long = pool.submit(speak, xtts_server, LONG)
            assert "xtts/xtts_v2@narrator-1 is current" in command(xtts_server, "promote", "--run", run)
            wait_until_serving(xtts_server, "narrator-1")
            new = speak(xtts_server)
            assert new.headers["x-kubevoice-model"] == "xtts_v2@narrator-1"
            assert not same(pcm(new), old)
            assert same(pcm(long.result()), old_long)
            pcm(speak(xtts_server, voice=NEW_PRESET))
            voices = httpx.get(f"{xtts_server.url}/v1/audio/voices", timeout=60).json()["voices"]
            assert NEW_PRESET in {voice["id"] for voice in voices}
        finally:
            assert "xtts/xtts_v2@r1 is current" in command(xtts_server, "rollback")
            wait_until_serving(xtts_server, "r1")
        back = speak(xtts_server)
        assert back.headers["x-kubevoice-model"] == "xtts_v2@r1"
        assert same(pcm(back), old)
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-kubevoice-model"] for answer in answers} == {"xtts_v2@r1", "xtts_v2@narrator-1"}
    for answer in answers:
        assert same(pcm(answer), old) == (answer.headers["x-kubevoice-model"] == "xtts_v2@r1")
    assert httpx.get(f"{xtts_server.url}/readyz", timeout=60).status_code == 200
    assert {process.pid for process in xtts_server.replicas("Xtts")} == replicas
