"""A real server on one machine that prepares a dataset, loses its ingress meanwhile, and stops with a run at work."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.audio.wav import wav_bytes
from serving.engines.espeak.library import SAMPLE_RATE, synthesise
from serving.launch.local import FOLDER, LocalLauncher
from tests.e2e.conftest import publish_checkpoint
from tests.e2e.servers import serving

pytestmark = [pytest.mark.xdist_group("training_server"), pytest.mark.timeout(600)]

WAIT_S = 240.0
TEXTS = (
    "The morning light falls on the quiet river.",
    "A letter lies on the window of the old house.",
    "Summer follows spring, and winter is far away.",
    "The train to the harbour leaves in the evening.",
)
SAVES = "trap 'echo saving; exit 143' TERM; echo began; while :; do sleep 0.05; done"


def recordings() -> list[tuple[str, tuple[str, bytes]]]:
    files = []
    for number, text in enumerate(TEXTS):
        pcm = synthesise(text, "gmw/en", "m3", 150)
        files.append(("files", (f"{number}.wav", wav_bytes(pcm, SAMPLE_RATE))))
    table = "".join(f"{number}|{text}\n" for number, text in enumerate(TEXTS))
    return [*files, ("files", ("metadata.csv", table.encode()))]


def patiently(url: str) -> dict[str, Any]:
    """What is at ``url`` once its preparation has ended; a server whose ingress is being replaced is asked again."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(url, timeout=30)
        except httpx.HTTPError:
            answer = None
        if answer is not None and answer.status_code == 200:
            card: dict[str, Any] = answer.json()
            if card["state"] not in ("queued", "running"):
                return card
        time.sleep(0.3)
    raise AssertionError("the preparation did not end")


def test_a_preparation_outlives_its_ingress_and_a_stopping_server_lets_a_run_save(tmp_path: Path) -> None:
    data = tmp_path / "data"
    publish_checkpoint(data)
    launcher = LocalLauncher(data / FOLDER, poll_s=0.05)
    with serving(data, "--engine", "espeak") as server:
        form = {"name": "Ada", "language": "en", "consent": "espeak-ng agrees to everything."}
        card = httpx.post(f"{server.url}/v1/datasets", data=form, files=recordings(), timeout=60).json()
        (ingress,) = server.replicas("Ingress")
        ingress.kill()
        ended = patiently(f"{server.url}/v1/datasets/{card['id']}")
        assert (ended["state"], ended["reason"], ended["attempt"]) == ("succeeded", "", 1)
        assert ended["totals"]["kept"] == len(TEXTS)
        assert [run.state for run in launcher.runs()] == ["succeeded"]

        launcher.start("busy", ["sh", "-c", SAVES])
        deadline = time.monotonic() + 60
        while launcher.status("busy").state != "running" and time.monotonic() < deadline:
            time.sleep(0.05)
        server.process.send_signal(signal.SIGINT)
        server.process.wait(180)
    run = launcher.status("busy")
    assert (run.state, run.reason, run.exit_code) == ("stopped", "stopped with the server; resume it", 143)
    assert list(launcher.logs("busy")) == ["began", "saving"]
    assert [line for line in server.lines if line.startswith("stopping busy")]
