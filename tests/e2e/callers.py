"""Clients of a cluster: they find it as a Service does, call without a pause, and accept nothing but whole answers."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import httpx

PROBE_PERIOD_S = 1.0


class Endpoints:
    """The nodes whose proxy says that it is ready, looked up again and again: what a Service sends requests to."""

    def __init__(self, urls: Callable[[], list[str]]) -> None:
        self._urls = urls
        self._ready: list[str] = []
        self._found = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Endpoints:
        self._thread.start()
        assert self._found.wait(180), "no proxy is ready"
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def choose(self) -> str:
        return random.choice(self._ready)

    @property
    def ready(self) -> list[str]:
        return self._ready

    def _watch(self) -> None:
        with httpx.Client(timeout=5) as client:
            while not self._stopped.is_set():
                if ready := [url for url in self._urls() if _is_ready(client, url)]:
                    self._ready = ready
                    self._found.set()
                self._stopped.wait(PROBE_PERIOD_S)


def _is_ready(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/-/healthz").status_code == 200
    except httpx.HTTPError:
        return False


class Callers:
    """``count`` clients that stream one speech over and over while the block runs.

    ``body`` has a seed, so every answer is the same to the byte: one that was cut, or spoken by halves, is not.
    """

    def __init__(self, endpoints: Endpoints, count: int, body: dict[str, Any]) -> None:
        self.answers: list[bytes] = []
        self.failures: list[str] = []
        self._endpoints = endpoints
        self._body = body
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(count)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def assert_whole(self) -> None:
        """Nothing failed, and nothing was cut."""
        assert self.failures == []
        assert len(self.answers) >= len(self._threads)
        assert len(set(self.answers)) == 1, sorted({len(answer) for answer in self.answers})

    def _call(self) -> None:
        while not self._stopped.is_set():
            url = self._endpoints.choose()
            try:
                # A connection for each request: a Service chooses when it is opened.
                answer = httpx.post(f"{url}/v1/audio/speech", json=self._body, timeout=180)
            except httpx.HTTPError as error:
                self.failures.append(f"{url}: {error!r}")
                continue
            if answer.status_code == 200:
                self.answers.append(answer.content)
            else:
                self.failures.append(f"{url}: {answer.status_code} {answer.text}")
