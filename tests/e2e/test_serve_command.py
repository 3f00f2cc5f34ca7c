"""``kubevoice serve`` as a command: it starts, refuses, and leaves nothing behind."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.conftest import publish_checkpoint
from tests.e2e.servers import serving
from tests.factories.xtts import make_checkpoint

pytestmark = [pytest.mark.xdist_group("serve_command"), pytest.mark.timeout(600)]

TEXT = "A sentence that takes a while. " * 40  # several pieces


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serving.cli", "serve", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_a_stream_finish_and_ends_every_process(tmp_path: Path, number: signal.Signals) -> None:
    publish_checkpoint(tmp_path / "data")
    body = {
        "model": "tts-1",
        "voice": "alloy",
        "input": "A sentence that takes a while. " * 12,
        "response_format": "pcm",
    }
    with serving(tmp_path / "data") as server:
        started = psutil.Process(server.process.pid).children(recursive=True)
        with httpx.stream("POST", f"{server.url}/v1/audio/speech", json=body, timeout=180) as answer:
            pieces = answer.iter_raw()
            size = len(next(pieces))
            server.process.send_signal(number)
            size += sum(map(len, pieces))  # raises when the connection is cut
        server.process.wait(180)
    assert size > 24000 * 2 * 20
    assert server.process.returncode == 0
    assert started
    # Ray's agents look every 0.4 s whether their raylet lives and end by themselves, on a busy machine seconds later.
    deadline = time.monotonic() + 60
    while (left := [process for process in started if not _ended(process)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left
    assert [line for line in server.lines if line.startswith("stopping")]
    assert not [line for line in server.lines if "Traceback" in line or "(raylet)" in line]


def _ended(process: psutil.Process) -> bool:
    """Whether it is gone, or would be if the machine's first process reaped what it inherits."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--port", str(port), "--data", str(tmp_path))
    assert result.returncode == 2
    assert re.fullmatch(rf"error: cannot listen on 127.0.0.1:{port}: .*--port.*\n", result.stderr)


def test_other_machines_are_not_let_in_by_accident(tmp_path: Path) -> None:
    result = run("--host", "0.0.0.0", "--data", str(tmp_path))
    assert result.returncode == 2
    assert "--allow-unauthenticated" in result.stderr


def test_xtts_without_weights_says_how_to_get_them(tmp_path: Path) -> None:
    result = run("--engine", "xtts", "--port", "0", "--data", str(tmp_path))
    assert result.returncode == 1
    assert "kubevoice models pull" in result.stderr
    assert "Traceback" not in result.stderr


def test_torn_weights_are_one_sentence_that_names_the_file(tmp_path: Path) -> None:
    weights = tmp_path / "models" / "xtts" / "xtts_v2" / "mine" / "model.pth"  # no manifest: placed by hand
    weights.parent.mkdir(parents=True)
    make_checkpoint(weights.parent, "tiny")
    with weights.open("r+b") as file:
        file.truncate(weights.stat().st_size // 2)
    result = run("--engine", "xtts", "--port", "0", "--data", str(tmp_path))
    assert result.returncode == 1
    assert f"error: the application did not start: {weights} is torn" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr
