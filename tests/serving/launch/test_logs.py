"""The log of a run, also across lost connections."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from kmock import KubernetesObjectNotFoundError, Request

from serving.errors import NotFound, Unavailable
from serving.launch import Launcher, Watch, logs
from tests.factories.kubernetes_api import KubernetesApi


@pytest.fixture
def pod(api: KubernetesApi, launcher: Launcher) -> str:
    launcher.start("r", ["true"])
    return api.add_pod("r", "Running", {"running": {}})


def path(pod: str) -> str:
    return f"get /api/v1/namespaces/speech/pods/{pod}/log"


def line(number: int, text: str | None = None) -> bytes:
    return f"2026-01-01T00:00:{number:02}.000000000Z {f'line {number}' if text is None else text}\n".encode()


def finish(api: KubernetesApi, pod: str) -> None:
    api.set_pod(pod, "Succeeded", {"terminated": {"exitCode": 0}})
    api.finish("r")


def test_the_log_so_far_comes_line_by_line(api: KubernetesApi, launcher: Launcher, pod: str) -> None:
    api.answer(path(pod), line(1) + line(2, "") + line(3, "a b  c") + b"2026-01-01T00:00:04.000000000Z no end")
    assert list(launcher.logs("r")) == ["line 1", "", "a b  c", "no end"]
    request = api.requests[-1]
    assert request.params["container"] == "training"
    assert request.params.get("follow") == "false"


def test_bytes_that_are_no_text_do_no_harm(api: KubernetesApi, launcher: Launcher, pod: str) -> None:
    api.answer(path(pod), line(1, "x").replace(b"x", b"\xff"))
    assert list(launcher.logs("r")) == ["\N{REPLACEMENT CHARACTER}"]


def test_the_cluster_is_asked_for_the_last_lines_alone_and_only_once(
    api: KubernetesApi, launcher: Launcher, pod: str
) -> None:
    asked: list[Any] = []

    def written(request: Request) -> bytes:
        asked.append(request.params)
        if len(asked) == 3:
            finish(api, pod)
        return line(8) + line(9)

    api.answer(path(pod), written)
    assert list(launcher.logs("r", tail=2)) == ["line 8", "line 9"]
    assert list(launcher.logs("r", tail=2, follow=True)) == ["line 8", "line 9"]
    assert [params.get("tailLines") for params in asked[:3]] == ["2", "2", None]


def test_a_line_without_end_comes_in_parts(api: KubernetesApi, launcher: Launcher, pod: str) -> None:
    bar = "99 % \r" * 50_000
    api.answer(path(pod), line(1, bar) + line(2))
    *parts, last = launcher.logs("r")
    assert "".join(parts) == bar
    assert len(parts) > 1
    assert last == "line 2"


def test_a_run_that_has_not_begun_has_no_log_and_says_why(launcher: Launcher) -> None:
    launcher.start("new", ["true"])
    with pytest.raises(Unavailable, match="run 'new' has no log: its pod is not there yet"):
        launcher.logs("new")


def test_a_run_whose_pods_are_gone_says_so(api: KubernetesApi, launcher: Launcher) -> None:
    launcher.start("old", ["true"])
    api.finish("old")
    with pytest.raises(Unavailable, match="run 'old' has no log: its pods are gone"):
        launcher.logs("old")


def test_a_pod_that_goes_while_it_is_asked_is_an_error(api: KubernetesApi, launcher: Launcher, pod: str) -> None:
    api.refuse(path(pod), 404, f'pods "{pod}" not found')
    with pytest.raises(NotFound, match=pod):
        list(launcher.logs("r"))


def test_following_shows_lines_as_they_come_and_ends_with_the_run(
    api: KubernetesApi, launcher: Launcher, pod: str
) -> None:
    async def written(_: Request) -> AsyncIterator[bytes]:
        yield line(1)
        yield line(2)[:20]
        await asyncio.sleep(0.05)
        yield line(2)[20:]
        finish(api, pod)

    api.answer(path(pod), written)
    assert list(launcher.logs("r", follow=True)) == ["line 1", "line 2"]


def test_following_a_pod_that_is_evicted_ends_with_what_it_wrote(
    api: KubernetesApi, launcher: Launcher, pod: str
) -> None:
    answers = [line(1)]

    def written() -> bytes:
        if answers:
            return answers.pop()
        raise KubernetesObjectNotFoundError

    api.answer(path(pod), written)
    assert list(launcher.logs("r", follow=True)) == ["line 1"]


def test_a_lost_connection_costs_no_line_and_repeats_none(api: KubernetesApi, launcher: Launcher, pod: str) -> None:
    parts: list[tuple[bytes, ...]] = [(line(1), line(2)), (line(1), line(2), line(3)), (line(3), line(4))]
    asked: list[Any] = []

    def written(request: Request) -> tuple[bytes, ...]:
        asked.append(request.params)
        if len(asked) == len(parts):
            finish(api, pod)
        return parts[min(len(asked), len(parts)) - 1]

    api.answer(path(pod), written)
    assert list(launcher.logs("r", follow=True)) == [f"line {number}" for number in (1, 2, 3, 4)]
    assert "sinceSeconds" not in asked[0]
    assert 1 <= int(asked[1]["sinceSeconds"]) <= 30
    assert asked[-1]["follow"] == "false"  # the run had ended: what is left is read once more


def test_a_silent_connection_is_asked_anew(
    api: KubernetesApi, launcher: Launcher, pod: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SILENCE_S", 0.2)
    asked = []

    async def written(request: Request) -> AsyncIterator[bytes]:
        asked.append(request)
        yield line(1)
        if len(asked) == 1:
            await asyncio.sleep(20)
        yield line(2)
        finish(api, pod)

    api.answer(path(pod), written)
    assert list(launcher.logs("r", follow=True)) == ["line 1", "line 2"]
    assert len(asked) >= 2


def test_closing_the_watch_ends_a_log_that_is_silent(api: KubernetesApi, launcher: Launcher, pod: str) -> None:
    async def written(_: Request) -> AsyncIterator[bytes]:
        yield line(1)
        await asyncio.sleep(30)

    api.answer(path(pod), written)
    watch = Watch()
    lines = launcher.logs("r", follow=True, watch=watch)
    assert next(lines) == "line 1"
    threading.Timer(0.1, watch.close).start()
    began = time.monotonic()
    assert list(lines) == []
    assert time.monotonic() - began < 20


def test_a_followed_log_ends_when_the_run_is_stopped(api: KubernetesApi, launcher: Launcher, pod: str) -> None:
    def written() -> bytes:
        with suppress(KeyError):
            del api.emulator.objects["batch/v1/jobs", "speech", "r"]
        return line(1)

    api.answer(path(pod), written)
    assert list(launcher.logs("r", follow=True)) == ["line 1"]
