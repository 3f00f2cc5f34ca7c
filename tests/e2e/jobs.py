"""Jobs on real servers, and the kills that they have to survive: for tests and benchmarks."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from typing import Any

import httpx
import psutil

from tests.e2e.servers import Server

WAIT_S = 120.0
ENVIRONMENT = {
    "KUBEVOICE_ENGINE": "espeak",
    "KUBEVOICE_JOBS__LEASE_S": "2",
    "KUBEVOICE_JOBS__CONCURRENCY": "2",
    "KUBEVOICE_LAUNCH__LAUNCHER": "none",
}

Card = dict[str, Any]


def ask(server: Server, path: str) -> httpx.Response | None:
    """An answer; None while there is nobody to give one."""
    try:
        answer = httpx.get(f"{server.url}{path}", timeout=20)
    except httpx.TransportError:
        return None
    return answer if answer.status_code < 500 else None


def until(server: Server, job: str, reached: Callable[[Card], bool], seconds: float = WAIT_S) -> Card:
    """The job's card once it is so; who asks does not give up while it goes on."""
    deadline, done = time.monotonic() + seconds, -1
    while True:
        answer = ask(server, f"/v1/jobs/{job}")
        card: Card = {} if answer is None else answer.json()
        if card and reached(card):
            return card
        if card and card["items"]["succeeded"] != done:
            deadline, done = time.monotonic() + seconds, card["items"]["succeeded"]
        assert time.monotonic() < deadline, (card, server.lines[-20:])
        time.sleep(0.1)


def succeeded(number: int) -> Callable[[Card], bool]:
    return lambda card: card["items"]["succeeded"] >= number


def ended(card: Card) -> bool:
    return card["finished_at"] is not None


def kill(server: Server, deployment: str) -> None:
    """Kill the replicas of a deployment that run now; there may be none for a moment after another kill."""
    deadline = time.monotonic() + WAIT_S
    while not (replicas := server.replicas(deployment)):
        assert time.monotonic() < deadline, (deployment, server.lines[-20:])
        time.sleep(0.1)
    for replica in replicas:
        replica.kill()


def kill_everything(server: Server) -> None:
    whole = psutil.Process(server.process.pid)
    processes = [whole, *whole.children(recursive=True)]
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=20)


def spoken_files(archive: bytes) -> list[dict[str, Any]]:
    """The lines of a job's ``items.jsonl``, each with the ``audio`` of its file; no file is without a line."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        lines = [json.loads(line) for line in opened.read("items.jsonl").splitlines()]
        assert sorted(opened.namelist()) == sorted(["items.jsonl", *(line["file"] for line in lines)])
        return [{**line, "audio": opened.read(line["file"])} for line in lines]
