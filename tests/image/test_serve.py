"""The image at work: it serves on a read-only root as an ordinary user, tells its health, and ends when told to."""

from __future__ import annotations

import io
import json
import time
import wave

import httpx
import pytest

from tests.image.containers import Builder, Container, serving, wait_until_ready

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), pytest.mark.xdist_group("image")]

BYTES_PER_S = 24000 * 2


def speech(text: str, form: str) -> dict[str, str]:
    return {"model": "tts-1", "voice": "alloy", "input": text, "response_format": form}


def test_it_speaks(server: Container) -> None:
    answer = httpx.post(f"{server.url}/v1/audio/speech", json=speech("The image speaks.", "wav"), timeout=60)
    assert answer.status_code == 200, answer.text
    with wave.open(io.BytesIO(answer.content)) as audio:
        assert audio.getframerate() > 0
    assert len(answer.content) > BYTES_PER_S // 2


def test_it_becomes_healthy(server: Container) -> None:
    deadline = time.monotonic() + 60
    while (health := server.health()) != "healthy" and time.monotonic() < deadline:
        time.sleep(1)
    assert health == "healthy"


def test_the_doctor_finds_nothing_that_failed(server: Container) -> None:
    findings = json.loads(server.exec("kubevoice", "doctor", "--json"))
    assert findings
    assert [finding for finding in findings if finding["status"] == "failed"] == []


def test_only_the_volume_and_tmp_can_be_written(server: Container) -> None:
    script = "for folder in / /opt/venv /data /tmp; do touch $folder/x 2>/dev/null && echo $folder; done"
    assert server.exec("sh", "-c", script + "; true").split() == ["/data", "/tmp"]


def test_the_first_process_is_tini_and_none_is_root(server: Container) -> None:
    script = "tr '\\0' ' ' < /proc/1/cmdline; cat /proc/[0-9]*/status | grep ^Uid"
    first, *users = server.exec("sh", "-c", script).replace("Uid:", "\nUid:").split("\nUid:")
    assert first.startswith("tini -- kubevoice serve")
    assert len(users) > 5
    assert {user.split()[1] for user in users} == {"1000"}


def test_voices_outlive_the_container_on_the_volume(server: Container) -> None:
    assert "kubevoice.db" in server.exec("ls", "/data")


def test_it_serves_again_after_a_restart(builder: Builder, image: str) -> None:
    with serving(builder, image, "--env=KUBEVOICE_ENGINE=espeak") as container:
        builder("restart", "--time=60", container.name)
        url = f"{wait_until_ready(container).url}/v1/audio/speech"
        assert httpx.post(url, json=speech("Again.", "wav"), timeout=60).status_code == 200


def test_sigterm_lets_a_stream_finish_and_ends_it_in_seconds(builder: Builder, image: str) -> None:
    with serving(builder, image, "--env=KUBEVOICE_ENGINE=espeak") as container:
        body = speech("A sentence that takes a while. " * 130, "pcm")
        whole = httpx.post(f"{container.url}/v1/audio/speech", json=body, timeout=120).content
        with httpx.stream("POST", f"{container.url}/v1/audio/speech", json=body, timeout=60) as answer:
            pieces = answer.iter_raw()
            size = len(next(pieces))
            builder("kill", "--signal=TERM", container.name)
            told = time.monotonic()
            size += sum(map(len, pieces))  # raises when the connection is cut
        while container.state()["Running"] and time.monotonic() < told + 60:
            time.sleep(0.2)
        seconds = time.monotonic() - told
        assert size == len(whole) > BYTES_PER_S * 60
        assert (container.state()["Running"], container.state()["ExitCode"]) == (False, 0), container.logs()
        assert seconds < 30
        assert "stopping: streams in progress finish first" in container.logs()
