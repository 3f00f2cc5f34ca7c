"""Request ids, log lines, limits, and the answer to a bug."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from serving.api import build_app
from serving.api.context import Context
from serving.api.guard import Guard
from serving.api.middleware import SPEAKING
from serving.errors import Overloaded
from serving.logs import JsonFormatter
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.settings_groups import LimitSettings
from serving.store.voices import VoiceStore
from tests.serving.api.asgi import Exchange, speech, until
from tests.serving.api.scripted import ScriptedSpeech, chunk


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.lines: list[dict[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def log() -> Iterator[list[dict[str, object]]]:
    """The JSON lines that the ``serving`` loggers write."""
    handler = _Lines()
    logger = logging.getLogger("serving")
    level = logger.level
    logger.setLevel("INFO")
    logger.addHandler(handler)
    yield handler.lines
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.parametrize(
    ("path", "status"), [("/healthz", 200), ("/v1/models", 200), ("/v1/models/x", 404), ("/x", 404), ("/docs", 200)]
)
def test_every_answer_has_a_request_id_of_its_own(client: TestClient, path: str, status: int) -> None:
    answers = [client.get(path) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [status] * 2
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert all(each.startswith("req_") for each in ids)
    assert ids[0] != ids[1]


def test_a_clients_request_id_is_kept_on_success_and_error(client: TestClient) -> None:
    given = "trace-1:span.2_" + "x" * 100
    for path in ("/v1/models", "/nowhere"):
        assert client.get(path, headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", 'a"b', "a\x01b", "a\r\nSet-Cookie: x=1", "<script>", "é"])
async def test_a_hostile_request_id_is_replaced(store: VoiceStore, settings: Settings, given: str) -> None:
    app = build_app(ScriptedSpeech(), store, settings, LocalMetrics())
    exchange = Exchange(app, "GET", "/healthz", headers={b"x-request-id": given.encode()})
    await exchange.end()

    assert exchange.status == 200
    assert exchange.headers["x-request-id"].startswith("req_")
    assert "set-cookie" not in exchange.headers


HOSTILE_HEADERS = [
    {b"content-length": b"\xb2"},
    {b"content-length": b"9" * 5000},
    {b"content-length": b"-1"},
    {b"content-type": b"\xff\xfe"},
    {b"content-type": b"application/json; charset=utf-99"},
    {b"content-type": b"multipart/form-data; boundary=" + b"x" * 10_000},
    {b"content-type": b'multipart/form-data; boundary="'},
    {b"host": b"\x00"},
    {b"accept": b"*" * 10_000},
    {b"expect": b"417"},
    {b"transfer-encoding": b"chunked, identity"},
    {b"x-forwarded-for": b"'; DROP TABLE voices"},
    {b"range": b"bytes=0-1,5-"},
    {b"authorization": b"Bearer \xff"},
    {b"cookie": b"=;=;" * 500},
]


@pytest.mark.parametrize("headers", HOSTILE_HEADERS, ids=lambda value: ascii(value)[:40])
@pytest.mark.parametrize("path", ["/v1/audio/speech", "/v1/audio/voices"])
async def test_hostile_headers_never_fail_the_server(
    store: VoiceStore, settings: Settings, headers: dict[bytes, bytes], path: str
) -> None:
    app = build_app(ScriptedSpeech(chunk()), store, settings, LocalMetrics())
    exchange = Exchange(app, "POST", path, body=b'{"model": 1}', headers=headers)
    await exchange.end()

    assert exchange.status in (400, 413)
    assert json.loads(exchange.body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/readyz", "/nowhere"])
async def test_a_client_cannot_have_the_work_go_on_after_it_has_left(
    store: VoiceStore, settings: Settings, path: str
) -> None:
    engine = ScriptedSpeech(chunk())
    app = build_app(engine, store, settings, LocalMetrics())
    body = json.dumps({"model": "auto", "input": "Hi.", "voice": "one"}).encode()
    headers = {b"content-type": b"application/json", b"x-request-disconnect-disabled": b"?1"}
    exchange = Exchange(app, "POST", path, body=body, headers=headers)
    await exchange.end()

    error = json.loads(exchange.body)["error"]
    assert (exchange.status, error["param"]) == (400, "x-request-disconnect-disabled")
    assert exchange.headers["x-request-id"].startswith("req_")
    assert engine.requests == []


@pytest.mark.parametrize("body", [b"x" * 1_000_000, None])
def test_a_json_body_is_limited_by_what_the_longest_text_and_dictionary_need(
    client: TestClient, body: bytes | None
) -> None:
    pieces = (b"x" * 10_000 for _ in range(100))
    headers = {"Content-Type": "application/json"}
    response = client.post("/v1/audio/speech", content=body or pieces, headers=headers)

    assert response.status_code == 413
    assert response.json()["error"]["param"] == "input"


@pytest.mark.parametrize(
    ("path", "kind", "field"),
    [
        ("/elevenlabs/v1/text-to-speech/one", "application/json", "text"),
        ("/elevenlabs/v1/voices/add", "multipart/form-data; boundary=b", "files"),
        ("/elevenlabs/v1/speech-to-speech/Ada", "multipart/form-data; boundary=b", "audio"),
        ("/v1/audio/voices", "multipart/form-data; boundary=b", "audio_sample"),
        ("/v1/audio/conversions", "multipart/form-data; boundary=b", "file"),
        ("/v1/training/runs", "application/json", "body"),
    ],
)
def test_a_body_that_is_too_large_is_refused_by_the_field_of_its_route(
    client: TestClient, path: str, kind: str, field: str
) -> None:
    response = client.post(path, content=b"", headers={"Content-Type": kind, "Content-Length": "99999999999"})
    error = response.json()
    shown = error["detail"] if "detail" in error else error["error"]
    assert (response.status_code, shown["param"]) == (413, field)


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=b"])
async def test_a_body_that_does_not_come_is_given_up(store: VoiceStore, settings: Settings, kind: str) -> None:
    impatient = settings.model_copy(update={"limits": LimitSettings(stalled_client_s=0.1)})
    app = build_app(ScriptedSpeech(chunk()), store, impatient, LocalMetrics())
    path = "/v1/audio/speech" if "json" in kind else "/v1/audio/voices"
    exchange = Exchange(app, "POST", path, body=None, headers={b"content-type": kind.encode()})
    await exchange.end()
    assert (exchange.status, json.loads(exchange.body)["error"]["code"]) == (408, "body_timeout")


async def test_an_answer_may_take_longer_than_a_client_may_be_silent(store: VoiceStore, settings: Settings) -> None:
    impatient = settings.model_copy(update={"limits": LimitSettings(stalled_client_s=0.1)})
    go_on = asyncio.Event()
    exchange = speech(build_app(ScriptedSpeech(go_on, chunk()), store, impatient, LocalMetrics()))
    await asyncio.sleep(0.3)
    go_on.set()
    await exchange.end()
    assert exchange.status == 200


def test_the_longest_text_fits_however_json_writes_it(client: TestClient) -> None:
    body = json.dumps({"model": "tts-1", "input": "\U0001f600" * 4096, "voice": "nobody"})

    assert len(body) > 4096 * 12
    headers = {"Content-Type": "application/json"}
    assert client.post("/v1/audio/speech", content=body, headers=headers).json()["error"]["param"] == "voice"


def test_each_request_is_one_json_log_line_with_its_id(client: TestClient, log: list[dict[str, object]]) -> None:
    headers = {"X-Request-ID": "mine"}
    client.post("/v1/audio/speech", json={"model": "tts-1", "input": "Hi.", "voice": "alloy"}, headers=headers)
    client.get("/nowhere", headers={"X-Request-ID": "other"})

    first, second = [line for line in log if line["message"] == "request"]
    assert (first["request_id"], first["path"], first["status"]) == ("mine", "/v1/audio/speech", 200)
    assert (first["model"], first["voice"], first["characters"]) == ("espeak", "f1", 3)
    assert (second["request_id"], second["status"]) == ("other", 404)


def test_the_text_is_never_logged(client: TestClient, log: list[dict[str, object]]) -> None:
    for voice in ("alloy", "nobody"):
        client.post("/v1/audio/speech", json={"model": "tts-1", "input": "My secret.", "voice": voice})

    assert log
    assert "secret" not in json.dumps(log)


def test_probes_are_not_logged(client: TestClient, log: list[dict[str, object]]) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        client.get(path)

    assert log == []


def test_a_bug_is_a_plain_500_with_its_trace_in_the_log(
    store: VoiceStore, settings: Settings, log: list[dict[str, object]]
) -> None:
    client = TestClient(build_app(ScriptedSpeech(ZeroDivisionError("inner")), store, settings, LocalMetrics()))
    answer = client.post(
        "/v1/audio/speech",
        json={"model": "auto", "input": "Hi.", "voice": "one"},
        headers={"X-Request-ID": "mine"},
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert answer.headers["x-request-id"] == "mine"
    assert "inner" not in answer.text
    trace = next(line for line in log if "exception" in line)
    assert trace["request_id"] == "mine"
    assert "ZeroDivisionError: inner" in str(trace["exception"])


async def test_a_draining_server_finishes_what_it_has_and_takes_nothing_new(
    store: VoiceStore, settings: Settings
) -> None:
    go = asyncio.Event()
    app = build_app(ScriptedSpeech(chunk(), go, chunk()), store, settings, LocalMetrics())
    context: Context = app.state.context
    begun = speech(app)
    await until(lambda: bool(begun.body))
    context.draining = True

    for method, path, status in (("POST", "/v1/audio/speech", 503), ("GET", "/readyz", 503), ("GET", "/healthz", 200)):
        refused = Exchange(app, method, path)
        await refused.end()
        assert refused.status == status, path
    assert context.in_progress == 1
    go.set()
    await begun.end()
    assert begun.complete
    assert context.in_progress == 0


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/elevenlabs/v1/text-to-speech/one/stream"])
async def test_a_full_server_refuses_before_it_looks_a_key_up_or_reads_the_text(
    store: VoiceStore, settings: Settings, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a refused request has reached the database")

    engine = ScriptedSpeech(chunk())
    engine.refused = Overloaded("the queue is full", 7)
    app = build_app(engine, store, settings, LocalMetrics())
    monkeypatch.setattr(Guard, "__call__", never)
    exchange = Exchange(app, "POST", path, body=b"{", headers={b"authorization": b"Bearer kv-unknown"})
    await exchange.end()

    assert (exchange.status, exchange.headers["retry-after"]) == (429, "7")
    answer = json.loads(exchange.body)
    assert "the queue is full" in str(answer)
    assert list(answer) == (["detail"] if path.startswith("/elevenlabs") else ["error"])
    assert app.state.context.in_progress == 0


def test_a_full_server_answers_everything_but_speech(store: VoiceStore, settings: Settings) -> None:
    engine = ScriptedSpeech(chunk())
    engine.refused = Overloaded("the queue is full", 7)
    with TestClient(build_app(engine, store, settings, LocalMetrics())) as client:
        statuses = [client.get(path).status_code for path in ("/healthz", "/v1/models", "/v1/audio/voices")]
        refused = client.post("/v1/audio/speech", json={"model": "auto", "input": "Hi.", "voice": "one"})
    assert statuses == [200, 200, 200]
    assert refused.status_code == 429


def test_requests_turned_away_at_once_share_a_log_line_that_counts_them(
    store: VoiceStore, settings: Settings, log: list[dict[str, object]]
) -> None:
    engine, metrics = ScriptedSpeech(chunk()), LocalMetrics()
    engine.refused = Overloaded("the queue is full", 7)
    with TestClient(build_app(engine, store, settings, metrics)) as client:
        for _ in range(20):
            client.post("/v1/audio/speech", json={"model": "auto", "input": "Hi.", "voice": "one"})
        metrics_text = client.get("/metrics").text
    lines = [line for line in log if line.get("status") == 429]
    assert len(lines) < 20
    assert 1 <= sum(int(str(line["turned_away"])) for line in lines) <= 20
    assert 'kubevoice_refusals_total{reason="overloaded"} 20.0' in metrics_text


def test_a_request_turned_away_is_counted_under_the_route_that_would_have_taken_it(
    store: VoiceStore, settings: Settings
) -> None:
    engine, metrics = ScriptedSpeech(chunk()), LocalMetrics()
    application = build_app(engine, store, settings, metrics)
    paths = [path for path in application.openapi()["paths"] if path.startswith(SPEAKING)]
    asked = [path.format(voice_id=voice) for path in paths for voice in ("one", "two")]
    asked += ["/v1/audio/speech/invented", "/elevenlabs/v1/text-to-speech/one/invented"]
    with TestClient(application) as client:
        taken = routes_asked(client, asked)
        engine.refused = Overloaded("the queue is full", 7)
        assert len(paths) == 3
        assert routes_asked(client, asked) == taken == {**dict.fromkeys(paths, 2.0), "unmatched": 2.0}


def routes_asked(client: TestClient, paths: list[str]) -> dict[str, float]:
    """By how many each route's count of POSTs grows when every path is asked once, with a body that is refused."""
    counts: list[dict[str, float]] = []
    for ask in (paths, []):
        counts.append(defaultdict(float))
        for line in client.get("/metrics").text.splitlines():
            if found := re.match(r'kubevoice_requests_total{method="POST",route="([^"]+)",status="4\d\d"} (.+)', line):
                counts[-1][found[1]] += float(found[2])
        for path in ask:
            client.post(path, json={})
    return {route: grown for route in counts[1] if (grown := counts[1][route] - counts[0][route])}
