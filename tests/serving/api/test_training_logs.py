"""``/v1/training/runs/{run}/logs``: all of it, its end, and as it is written."""

from __future__ import annotations

import json
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.api import training_logs
from serving.api.log_pieces import PIECE_BYTES
from serving.errors import Unavailable
from serving.settings import Settings
from serving.store.voices import VoiceStore
from tests.serving.api.asgi import Exchange, until
from tests.serving.api.guarded import bearer, keys_of, new_key, scripted_app
from tests.serving.api.standin import StandIn
from tests.serving.api.training_client import RUNS, add_weights, client_of, ready_dataset, start, until_ended


@pytest.fixture
def client(store: VoiceStore, settings: Settings, launcher: StandIn) -> TestClient:
    add_weights(settings)
    return client_of(store, settings, launcher)


def folder(settings: Settings, run: str) -> Path:
    return settings.data / "training" / "default" / run


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n") if line]


def test_a_followed_log_in_which_nothing_comes_is_kept_open_by_comments(
    client: TestClient, dataset: dict[str, Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_logs, "QUIET_S", 0.05)
    card = start(client, epochs=1000).json()
    threading.Timer(1.0, (folder(settings, card["id"]) / "finish").touch).start()
    blocks = client.get(f"{RUNS}/{card['id']}/logs", params={"follow": True}).text.split("\n\n")
    assert ": still there" in blocks
    told = events("\n\n".join(block for block in blocks if not block.startswith(":")))
    assert told[-1] == {"type": "training.done", "state": "succeeded", "reason": ""}


def test_a_followed_log_ends_with_the_run(client: TestClient, dataset: dict[str, Any], settings: Settings) -> None:
    card = start(client, epochs=1000).json()
    threading.Timer(1.0, (folder(settings, card["id"]) / "finish").touch).start()
    answer = client.get(f"{RUNS}/{card['id']}/logs", params={"follow": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer.text)
    assert [event["line"] for event in told if event["type"] == "training.log"] == [
        f"attempt on {dataset['id']}",
        "done",
    ]
    assert told[-1] == {"type": "training.done", "state": "succeeded", "reason": ""}
    again = events(client.get(f"{RUNS}/{card['id']}/logs", params={"follow": True}).text)
    assert [event["type"] for event in again] == ["training.log", "training.log", "training.done"]


class Breaking:
    """A launcher's logs that break off with Unavailable, once: after ``lines`` lines."""

    def __init__(self, launcher: StandIn, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real, self._lines, self.asked = launcher.logs, lines, 0
        monkeypatch.setattr(launcher, "logs", self)

    def __call__(self, *args: Any, **options: Any) -> Iterator[str]:
        self.asked += 1
        if self.asked > 1:
            yield from self._real(*args, **options)
            return
        yield from ["a line"] * self._lines
        raise Unavailable("the Kubernetes API does not answer")


def test_a_followed_log_that_breaks_off_says_so(
    client: TestClient, dataset: dict[str, Any], launcher: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking = Breaking(launcher, 1, monkeypatch)
    card = start(client, epochs=1000).json()
    told = events(client.get(f"{RUNS}/{card['id']}/logs", params={"follow": True}).text)
    client.post(f"{RUNS}/{card['id']}/cancel")
    assert told[-1]["type"] == "error"
    assert told[-1]["error"]["code"] == "unavailable"
    assert "follow it again" in told[-1]["error"]["message"]
    assert breaking.asked == 1


def test_a_log_that_cannot_be_read_yet_is_asked_for_again(
    client: TestClient, dataset: dict[str, Any], launcher: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    Breaking(launcher, 0, monkeypatch)
    card = start(client, epochs=1000).json()
    threading.Timer(3.0, (folder(settings, card["id"]) / "finish").touch).start()
    told = events(client.get(f"{RUNS}/{card['id']}/logs", params={"follow": True}).text)
    assert [event["line"] for event in told if event["type"] == "training.log"] == [
        f"attempt on {dataset['id']}",
        "done",
    ]


def test_a_key_that_is_revoked_reads_no_further(
    store: VoiceStore, settings: Settings, launcher: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_logs, "QUIET_S", 0.1)
    add_weights(settings)
    key, text = new_key(store)
    client = TestClient(scripted_app(store, settings, launcher), headers=bearer(text))
    ready_dataset(client)
    run = start(client, epochs=1000).json()["id"]
    threading.Timer(1.0, lambda: keys_of(store).revoke(None, key.id)).start()
    told = client.get(f"{RUNS}/{run}/logs", params={"follow": True}).text.split("\n\n")
    last = json.loads(told[-2].removeprefix("data: "))
    assert (last["type"], last["error"]["code"]) == ("error", "invalid_api_key")


@pytest.fixture
def ended(client: TestClient, dataset: dict[str, Any]) -> str:
    """The route of the log of a run that has ended."""
    run = start(client).json()["id"]
    until_ended(client, f"{RUNS}/{run}")
    return f"{RUNS}/{run}/logs"


def log_file(settings: Settings, route: str) -> Path:
    return settings.data / "launch" / f"{route.split('/')[-2]}-1" / "output.log"


def test_the_last_lines_are_given_alone(client: TestClient, ended: str, settings: Settings) -> None:
    log_file(settings, ended).write_text("".join(f"line {number}\n" for number in range(50_000)) + "no end")
    assert client.get(ended, params={"tail": 3}).text == "line 49998\nline 49999\nno end\n"
    told = events(client.get(ended, params={"tail": 2, "follow": True}).text)
    assert [event.get("line") for event in told] == ["line 49999", "no end", None]
    assert len(client.get(ended).text.splitlines()) == 50_001
    refused = client.get(ended, params={"tail": 0})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tail")


@pytest.mark.parametrize("line_end", [b"\n", b"\r"], ids=["lines", "a bar that ends no line"])
async def test_of_a_long_log_a_few_pieces_are_held(
    client: TestClient, ended: str, settings: Settings, line_end: bytes
) -> None:
    size = 50 * 1024 * 1024
    with log_file(settings, ended).open("wb") as file:
        for _ in range(50):
            file.write((b"x" * 1023 + line_end) * 1024)
    exchange = Exchange(client.app, "GET", ended)
    exchange.sent = taken = _Sizes()  # as a client does that keeps nothing
    tracemalloc.start()
    try:
        await exchange.end()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    extra = 0 if line_end == b"\n" else size // (64 * 1024)  # line ends between the pieces of one line
    assert taken.total == size + extra
    assert most < 40 * PIECE_BYTES


async def test_a_client_that_leaves_lets_go_of_the_log(client: TestClient, ended: str, settings: Settings) -> None:
    log_file(settings, ended).write_bytes(b"x\n" * 1_000_000)
    path = str(log_file(settings, ended))
    exchange = Exchange(client.app, "GET", ended)
    await exchange.first_bytes()
    await exchange.leave()
    await exchange.end()
    assert not exchange.complete
    await until(lambda: path not in {str(one.resolve()) for one in Path("/proc/self/fd").iterdir() if one.exists()})


class _Sizes(list[Any]):
    """Counts the bytes of messages instead of keeping them."""

    total = 0

    def append(self, message: Any) -> None:
        self.total += len(message.get("body", b""))
