"""One real server per engine; xdist keeps the tests of one server on one worker, which stops it behind the last."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from serving.store.models import ModelStore
from serving.store.shared_parts import shared_directory
from serving.store.volume import Volume
from tests.e2e.servers import Server, serving
from tests.factories.hubert import make_content_encoder
from tests.factories.xtts import make_checkpoint

SERVERS = ("espeak_server", "xtts_server", "rvc_start")


@pytest.hookimpl(trylast=True)  # what the test itself used is gone by then
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the servers of a group when its tests are done: idle ones take from the others' cores.

    Pytest itself would keep them until a worker has no test of this package left. Without xdist groups alternate.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ or (nextitem is not None and _group(nextitem) == _group(item)):
        return
    for name in SERVERS:
        for fixture in item.session._fixturemanager.getfixturedefs(name, item) or ():
            fixture.finish(item._request)  # type: ignore[attr-defined]


def _group(item: pytest.Item) -> object:
    marker = item.get_closest_marker("xdist_group")
    return marker and (marker.args or marker.kwargs)


@pytest.fixture(scope="package")
def espeak_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as `make serve` starts it on a fresh machine."""
    with serving(tmp_path_factory.mktemp("espeak") / "data") as server:
        yield server


@pytest.fixture(scope="package")
def xtts_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a tiny XTTS checkpoint: it works on 4 requests, and 6 may wait for their first audio."""
    data = tmp_path_factory.mktemp("xtts") / "data"
    publish_checkpoint(data)
    limits = {"KUBEVOICE_LIMITS__ONGOING_PER_REPLICA": "4", "KUBEVOICE_LIMITS__QUEUED_PER_INGRESS": "6"}
    with serving(data, environment={"KUBEVOICE_ENGINE": "xtts", **limits}) as server:
        yield server


@dataclass(frozen=True)
class RvcStart:
    """A server that was to convert voices before its weights were there, and what it then said."""

    server: Server
    refused: httpx.Response
    spoken: httpx.Response


@pytest.fixture(scope="package")
def rvc_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RvcStart]:
    """A server that got a tiny content encoder after its start, and converts voices now."""
    data = tmp_path_factory.mktemp("rvc") / "data"
    encoder = make_content_encoder(tmp_path_factory.mktemp("encoder") / "contentvec")
    volume = Volume(data)
    volume.create()
    with serving(data, environment={"KUBEVOICE_ENGINE": "espeak", "KUBEVOICE_RVC__ENABLED": "true"}) as server:
        refused, spoken = speak_converted(server), speak_converted(server, None)
        shared_directory(volume).mkdir(parents=True, exist_ok=True)
        encoder.rename(shared_directory(volume) / "contentvec")
        deadline = time.monotonic() + 180
        while (answer := speak_converted(server)).status_code == 503:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.3)
        yield RvcStart(server, refused, spoken)


def speak_converted(server: Server, model: str | None = "nobody") -> httpx.Response:
    """Speech in the voice of ``model``, or as it is."""
    body = {
        "model": "tts-1",
        "voice": "alloy",
        "input": "Hello.",
        **({"conversion": {"model": model}} if model else {}),
    }
    return httpx.post(f"{server.url}/v1/audio/speech", json=body, timeout=120)


@pytest.fixture(scope="package")
def rvc_server(rvc_start: RvcStart) -> Server:
    """A server that converts voices, with a tiny content encoder."""
    return rvc_start.server


def publish_checkpoint(data: Path) -> None:
    """Put a tiny checkpoint on the volume the way `kubevoice models pull` does."""
    volume = Volume(data)
    volume.create()
    with ModelStore(volume).publish("xtts", "xtts_v2", "r1", {"source": "test factory"}) as directory:
        make_checkpoint(directory, "tiny")


@pytest.fixture
def openai_client(espeak_server: Server) -> Iterator[OpenAI]:
    """The official client, pointed at the espeak server."""
    with OpenAI(base_url=f"{espeak_server.url}/v1", api_key="unused") as client:
        yield client
