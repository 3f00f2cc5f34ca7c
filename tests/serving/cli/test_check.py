"""``kubevoice check`` against servers on 127.0.0.1 that answer as a broken installation does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from serving.audio.wav import wav_bytes, wav_header
from serving.cli import app
from tests.audio_measure import noise

Answer = tuple[int, bytes]
READY: Answer = (200, b"{}")
SPEECH = wav_header(24000) + wav_bytes(noise(2.5, 24000), 24000)[44:]


def check(*arguments: str) -> Result:
    return CliRunner(env={"NO_PROXY": "127.0.0.1"}).invoke(app, ["check", *arguments])


@contextmanager
def serving(
    answer: Callable[[str, dict[str, object]], Answer], keys: list[str | None] | None = None, port: int = 0
) -> Iterator[str]:
    """A server whose answers are a function of the path and the JSON body; its URL. ``keys`` gets what it is sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if keys is not None:
                keys.append(self.headers.get("Authorization"))
            size = int(self.headers.get("Content-Length", 0))
            status, body = answer(self.path, json.loads(self.rfile.read(size)) if size else {})
            self.send_response(status)
            self.send_header("X-Kubevoice-Engine", "scripted")
            self.send_header("X-Kubevoice-Model", "model@r1")
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def speaking(ready: Answer, speech: Answer, *arguments: str) -> Result:
    with serving(lambda path, _: ready if path == "/readyz" else speech) as url:
        result = check(url, *arguments)
    result.stderr_bytes = (result.stderr_bytes or b"").replace(url.encode(), b"URL")
    return result


def test_a_server_that_asks_for_a_key_gets_the_one_of_the_file(tmp_path: Path) -> None:
    seen: list[str | None] = []

    file = tmp_path / "key"
    file.write_text("kv_secret\n")
    with serving(lambda path, _: READY if path == "/readyz" else (200, SPEECH), seen) as url:
        assert check(url, "--key-file", str(file)).exit_code == 0
    assert seen == ["Bearer kv_secret"] * 2


@pytest.mark.parametrize("text", ["", "two keys", "kv_\u00e9"])
def test_a_file_without_a_key_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    refused = check("http://127.0.0.1:1", "--key-file", str(file))
    assert refused.exit_code == 2
    assert "--key-file" in refused.stderr


def test_speech_is_described_by_what_a_client_measures() -> None:
    result = speaking(READY, (200, SPEECH))
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("model@r1 on engine scripted: first byte after 0.")
    assert "2.50 s of audio, real-time factor 0." in result.stdout


def test_text_and_voice_reach_the_server_and_no_server_needs_a_slash() -> None:
    seen: list[tuple[str, dict[str, object]]] = []

    def answer(path: str, body: dict[str, object]) -> Answer:
        seen.append((path, body))
        return READY if path == "/readyz" else (200, SPEECH)

    with serving(answer) as url:
        result = check(f"{url}/", "--text", "Guten Morgen, liebe Leute.", "--voice", "ana")
    assert result.exit_code == 0, result.stderr
    assert [path for path, _ in seen] == ["/readyz", "/v1/audio/speech"]
    assert (seen[1][1]["input"], seen[1][1]["voice"]) == ("Guten Morgen, liebe Leute.", "ana")


def error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "server_error", "param": None, "code": "x"}}).encode()


SILENCE = wav_header(24000) + bytes(2 * 60_000)


@pytest.mark.parametrize(
    ("ready", "speech", "sentence"),
    [
        ((503, error("the GPU is gone")), READY, "URL is not ready: the GPU is gone"),
        ((404, b"<html>default  backend</html>"), READY, "URL is not ready: HTTP 404: <html>default backend</html>"),
        (READY, (429, error("busy")), "URL does not speak: busy"),
        (READY, (502, b""), "URL does not speak: HTTP 502"),
        (READY, (200, SILENCE), "2.50 s of silence came; run kubevoice doctor on the server"),
        (READY, (200, b"ID3 hello"), "what came is not a WAV file but begins with b'ID3 hello'; is this a kubevoice "
         "server?"),
        (READY, (200, b""), "what came is not a WAV file but begins with b''; is this a kubevoice server?"),
        (READY, (200, SPEECH[:1000]), "0.02 s of audio came for a text that takes 0.9 to 25.5 s; the server's log has "
         "more"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_and_exit_code_1(ready: Answer, speech: Answer, sentence: str) -> None:
    result = speaking(ready, speech, "--timeout", "1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: {sentence}\n"


def test_a_server_that_is_not_there_is_named() -> None:
    with serving(lambda *_: READY) as url:
        pass
    result = check(url, "--timeout", "1")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: cannot connect to {url}: ")


def test_a_server_that_starts_is_waited_for_and_it_is_said_what_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.cli.check.PAUSE_S", 0.05)
    loading, scaling = (503, error("the model is loading")), (502, b"no healthy upstream")
    answers = iter([scaling, loading, loading, READY])
    with serving(lambda path, _: next(answers) if path == "/readyz" else (200, SPEECH)) as url:
        result = check(url)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.replace(url, "URL").splitlines() == [
        "waiting: URL is not ready: HTTP 502: no healthy upstream",
        "waiting: URL is not ready: the model is loading",
    ]


def test_a_server_that_is_not_there_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.cli.check.PAUSE_S", 0.05)
    with serving(lambda *_: READY) as url:
        pass
    done = threading.Event()

    def come_late() -> None:
        time.sleep(0.3)
        with serving(lambda path, _: READY if path == "/readyz" else (200, SPEECH), port=int(url.rsplit(":")[-1])):
            done.wait(30)

    server = threading.Thread(target=come_late)
    server.start()
    result = check(url)
    done.set()
    server.join()
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith(f"waiting: cannot connect to {url}: ")
    assert len(result.stderr.splitlines()) == 1


def test_a_server_that_is_never_ready_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.cli.check.PAUSE_S", 0.05)
    began = time.monotonic()
    result = speaking((503, error("the model is loading")), READY, "--timeout", "1")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "error: URL is not ready: the model is loading"
    assert 0.9 < time.monotonic() - began < 20


def test_a_server_that_hangs_is_given_up() -> None:
    ended = threading.Event()

    def answer(*_: object) -> Answer:
        ended.wait(30)
        return READY

    with serving(answer) as url:
        began = time.monotonic()
        result = check(url, "--timeout", "1")
        took = time.monotonic() - began
        ended.set()
    assert (result.exit_code, result.stderr) == (
        1,
        f"error: {url} did not answer within 1 s; allow more with --timeout\n",
    )
    assert took < 25


def test_what_is_not_an_address_is_exit_code_2() -> None:
    result = check("localhost:8000")
    assert (result.exit_code, "write it as http://host:port" in result.stderr) == (2, True)


def test_real_speech_is_judged_to_be_speech(client: TestClient) -> None:
    def answer(path: str, body: dict[str, object]) -> Answer:
        reply = client.post(path, json=body) if body else client.get(path)
        return reply.status_code, reply.content

    with serving(answer) as url:
        result = check(url)
    assert result.exit_code == 0, result.stderr
    assert np.isclose(float(result.stdout.split(" s of audio")[0].split(", ")[-1]), 2.7, atol=1.0)
