"""Clients of a cluster: they find it as a Service does, call without a pause, and accept nothing but whole answers."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import httpx
import numpy as np

PROBE_PERIOD_S = 1.0
ROUNDING = 8
"""Steps of a 16-bit sample; speech goes over thousands."""


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


def alike(one: bytes, other: bytes) -> bool:
    """Whether two answers of 16-bit samples are the same speech.

    Sentences share their computation with whichever others are spoken at the time, so sums round differently: by a step
    of a sample, and once in a great many tokens so that another one is chosen, which changes the rest of a sentence.
    """
    if len(one) != len(other):
        return False
    difference = np.frombuffer(one, np.int16).astype(np.int32) - np.frombuffer(other, np.int16)
    return float(np.mean(np.abs(difference) <= ROUNDING)) > 0.75


def _is_ready(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/-/healthz").status_code == 200
    except httpx.HTTPError:
        return False


class Callers:
    """``count`` clients that stream one speech over and over while the block runs.

    ``body`` has a seed, so every answer is the same speech: one that was cut, or spoken by halves, is not.
    """

    def __init__(self, endpoints: Endpoints, count: int, body: dict[str, Any]) -> None:
        self.answers: list[bytes] = []
        self.failures: list[str] = []
        self._endpoints = endpoints
        self._body = body
        self._stopped = threading.Event()
        self.rounds = [0] * count
        """Requests that each has ended, one way or the other."""
        self._threads = [threading.Thread(target=self._call, args=(index,), daemon=True) for index in range(count)]

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
        assert not self.failures, self.failures
        assert len(self.answers) >= len(self._threads)
        self.assert_alike()

    def assert_alike(self) -> None:
        """All are of one length, but for a sentence that ended elsewhere, and nearly all are the same speech."""
        sizes = sorted(map(len, self.answers))
        assert sizes[-1] - sizes[0] < sizes[-1] / 5, sizes
        # Should the first itself be the odd one, the second or third is not.
        assert any(sum(alike(one, other) for other in self.answers) >= 0.9 * len(sizes) for one in self.answers[:3])

    def have_gone_round(self, since: Sequence[int]) -> bool:
        """Whether each has ended the request that it was at when ``rounds`` were ``since``."""
        return all(now > then for now, then in zip(self.rounds, since, strict=True))

    def _call(self, index: int) -> None:
        while not self._stopped.is_set():
            self._ask()
            self.rounds[index] += 1

    def _ask(self) -> None:
        url = self._endpoints.choose()
        try:
            # A connection for each request: a Service chooses when it is opened.
            answer = httpx.post(f"{url}/v1/audio/speech", json=self._body, timeout=180)
        except httpx.HTTPError as error:
            self.failures.append(f"{url}: {error!r}")
            return
        if answer.status_code == 200:
            self.answers.append(answer.content)
        else:
            self.failures.append(f"{url}: {answer.status_code} {answer.text}")
