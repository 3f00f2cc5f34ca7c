"""Behind HAProxy, which Ray Serve puts in front of the ingress replicas on a cluster, the API is the same."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import psutil
import pytest
from openai import OpenAI

from tests.e2e.ports import free_port, ingress_ports
from tests.e2e.servers import Server, serving
from tests.e2e.test_server import LONG, eventually, ready, speech, total

pytestmark = [pytest.mark.xdist_group("haproxy_server"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on ports of its own: HAProxy's are the same for every cluster of a machine."""
    names = ("HAPROXY_STATS", "HAPROXY_METRICS", "FALLBACK_PROXY_HTTP", "FALLBACK_PROXY_GRPC")
    environment = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",  # the end of the test waits for it
        **ingress_ports("haproxy"),
        **{f"RAY_SERVE_{name}_PORT": str(free_port()) for name in names},
    }
    folder = tmp_path_factory.mktemp("haproxy")
    environment["KUBEVOICE_DATABASE__URL"] = f"sqlite:///{folder}/elsewhere.db"
    with serving(folder / "data", environment=environment) as server:
        yield server


def test_haproxy_is_what_listens(server: Server) -> None:
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert [child for child in children if child.name() == "haproxy"]


def test_the_database_of_the_environment_holds_the_records(server: Server) -> None:
    assert (server.data.parent / "elsewhere.db").stat().st_size > 0
    assert not (server.data / "kubevoice.db").exists()


def test_the_official_client_streams_and_reads_errors(server: Server) -> None:
    with OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        pieces = 0
        with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input=LONG, response_format="pcm"
        ) as answer:
            assert answer.headers["x-kubevoice-engine"] == "espeak"
            pieces = sum(1 for _ in answer.iter_bytes())
        assert pieces > 20


@pytest.mark.parametrize(
    ("method", "path", "fields", "status", "code"),
    [
        ("POST", "/v1/audio/speech", {"voice": "nobody"}, 404, "voice_not_found"),
        ("POST", "/v1/audio/speech", {"speed": 0}, 400, "invalid_value"),
        ("POST", "/v1/audio/speech", {"input": "x" * 200_000}, 413, "payload_too_large"),
        ("GET", "/no/such/route", None, 404, "not_found"),
        ("DELETE", "/v1/models", None, 405, "method_not_allowed"),
    ],
)
def test_errors_are_ours_and_have_one_request_id(
    server: Server, method: str, path: str, fields: dict[str, object] | None, status: int, code: str
) -> None:
    body = None if fields is None else speech("Hi.") | fields
    answer = httpx.request(method, f"{server.url}{path}", json=body, headers={"X-Request-ID": "mine"}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers.get_list("x-request-id") == ["mine"]


def test_a_client_that_leaves_stops_the_work(server: Server) -> None:
    before = total(server, "ray_kubevoice_cancelled_total")
    with httpx.stream("POST", f"{server.url}/v1/audio/speech", json=speech(LONG, speed=0.25), timeout=180) as answer:
        next(answer.iter_raw())
    eventually(lambda: total(server, "ray_kubevoice_cancelled_total") > before)
    eventually(lambda: total(server, "ray_kubevoice_active_streams") == 0)
    eventually(lambda: ready(server))
