"""Overload: what becomes of requests at half, once, three and ten times of what the server can do.

    python -m benchmarks.load [--seconds 20] [--engine paced] [--proxy haproxy] [--also streams readers]

``kubevoice serve`` runs beside its clients, who are a process of their own, behind HAProxy, as the chart deploys it, or
with ``--proxy python`` behind Serve's own. The paced engine has the capacity of a GPU's replica without its work
(`benchmarks.paced`), so the path is measured alone; espeak-ng and XTTS share the cores with it. Capacity is what twice
as many callers get as a replica works for at a time, who call again as soon as they are answered. Then requests come at
random times (a Poisson process) at multiples of it, whatever became of those before. The last line is one JSON object:

accepted_p95_ratio_10x   p95 of the time to the first audio of accepted requests at 10x / the same at 1x
refused_p95_ms           p95 of the time to the last byte of a refusal (429 or 503) at 10x
hung                     requests in all stages that had no end after a minute
throughput_ratio_10x     accepted requests answered whole in a second at 10x / at 1x
rss_growth_mb            growth of the resident memory of ingress and proxy over the second half of the 10x stage's load
lateness_p95_ms          how late the generator itself sent requests at 10x

What `benchmarks.load_streams` and `benchmarks.load_readers` measure is added, the latter as ``slow_readers``;
``--also`` alone leaves it out.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks import load_readers, load_streams, proxies
from benchmarks.load_client import Outcome, p95
from benchmarks.load_streams import paced
from benchmarks.proxies import PROXIES
from tests.e2e.conftest import publish_checkpoint
from tests.e2e.servers import Server, serving

WARM_UP = 0.3
"""Share of a stage that fills the queues first and is not looked at."""

HANG_S = 60.0
SENTENCE = "Sentence {} of a text that goes on for quite some time."
ONGOING = {"espeak": 2, "xtts": 8, "paced": 8}
"""Requests that a replica works on at a time: espeak-ng has one thread, XTTS eight slots on a CPU."""

SENTENCES = {"espeak": 12, "xtts": 12, "paced": 1}
PACED_BY = 8.0
"""Times real time at which the paced engine speaks each of its requests: about 16 sentences a second."""

ALSO = ("streams", "readers")
FIGURES = ("accepted_p95_ratio_10x", "refused_p95_ms", "hung", "throughput_ratio_10x")


@dataclass(frozen=True)
class Stage:
    """What one rate brought, without its beginning."""

    rate: float
    seconds: float
    outcomes: list[Outcome]
    growth_mb: float

    @property
    def accepted(self) -> list[Outcome]:
        return [each for each in self.outcomes if each.status == 200 and each.first_s is not None]

    @property
    def refused(self) -> list[Outcome]:
        return [each for each in self.outcomes if each.status in (429, 503)]

    @property
    def hung(self) -> int:
        return sum(each.hung for each in self.outcomes)

    @property
    def failed(self) -> int:
        return len(self.outcomes) - len(self.accepted) - len(self.refused) - self.hung

    @property
    def throughput(self) -> float:
        return len(self.accepted) / self.seconds

    def first_audio_p95(self) -> float:
        return p95([each.first_s or 0.0 for each in self.accepted])

    def refused_p95(self) -> float:
        return p95([each.end_s or 0.0 for each in self.refused])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each stage")
    parser.add_argument("--engine", choices=sorted(ONGOING), default="paced")
    parser.add_argument("--proxy", choices=PROXIES, default="haproxy")
    parser.add_argument("--sentences", type=int, help="of each text")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 1.0, 3.0, 10.0])
    parser.add_argument("--also", nargs="*", choices=ALSO, default=ALSO, help="further benchmarks; none without a name")
    options = parser.parse_args()
    body = speech(options.sentences or SENTENCES[options.engine])
    with started(options.engine, options.proxy) as server:
        httpx.post(f"{server.url}/v1/audio/speech", json=body, timeout=HANG_S).raise_for_status()
        capacity = closed_loop(server, body, options.seconds, 2 * ONGOING[options.engine])
        print(f"capacity: {capacity:.2f} requests/s to {2 * ONGOING[options.engine]} callers")
        stages = {load: measure(server, body, load * capacity, options.seconds) for load in options.loads}
    for load, stage in stages.items():
        print(line(load, stage))
    figures: dict[str, Any] = result(capacity, stages)
    if "streams" in options.also:
        figures.update(load_streams.measured(proxy=options.proxy))
    if "readers" in options.also:
        figures["slow_readers"] = load_readers.measured(proxy=options.proxy)
    print(json.dumps(figures))


@contextmanager
def started(engine: str, proxy: str) -> Iterator[Server]:
    """A server with that engine."""
    if engine == "paced":
        with paced(PACED_BY, ONGOING[engine], proxy) as server:
            yield server
        return
    environment = {
        **proxies.environment(proxy),
        "KUBEVOICE_ENGINE": engine,
        "KUBEVOICE_LIMITS__ONGOING_PER_REPLICA": str(ONGOING[engine]),
    }
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        if engine == "xtts":
            publish_checkpoint(data)
        with serving(data, environment=environment) as server:
            yield server


def speech(sentences: int) -> dict[str, Any]:
    text = " ".join(SENTENCE.format(index) for index in range(sentences))
    return {"model": "tts-1", "voice": "default", "input": text, "response_format": "mp3"}


def closed_loop(server: Server, body: dict[str, Any], seconds: float, number: int) -> float:
    """Whole answers in a second to ``number`` callers who call again once they are answered, after a warm-up."""
    begin = time.perf_counter() + WARM_UP * seconds
    end = begin + seconds
    ends: list[float] = []

    def call() -> None:
        with httpx.Client(timeout=HANG_S) as client:
            while time.perf_counter() < end:
                if client.post(f"{server.url}/v1/audio/speech", json=body).status_code == httpx.codes.OK:
                    ends.append(time.perf_counter())
                else:
                    time.sleep(0.1)

    callers = [threading.Thread(target=call) for _ in range(number)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    whole = sum(begin <= moment <= end for moment in ends)
    if not whole:
        raise SystemExit(f"not one answer was whole within {seconds:g} s: this machine is too busy to measure on")
    return whole / seconds


def measure(server: Server, body: dict[str, Any], rate: float, seconds: float) -> Stage:
    """One stage; the clients' process ends when every request has its answer."""
    warm = WARM_UP * seconds
    due = arrivals(rate, seconds + warm)
    plan = {"url": server.url, "body": body, "due": due, "timeout_s": HANG_S}
    command = [sys.executable, "-m", "benchmarks.load_client"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        middle = threading.Timer(warm + seconds / 2, lambda: sizes.append(resident(server)))
        sizes: list[int] = []
        middle.start()
        said, _ = client.communicate(json.dumps(plan))
        middle.join()
    growth_mb = (resident(server) - sizes[0]) / 2**20
    outcomes = [Outcome(**each) for each in json.loads(said)]
    return Stage(rate, seconds, [each for each in outcomes if each.due_s >= warm], growth_mb)


def arrivals(rate: float, seconds: float, seed: int = 7) -> list[float]:
    """Times at which requests of independent clients come: a Poisson process."""
    chance = random.Random(seed)
    due, moment = [], chance.expovariate(rate)
    while moment < seconds:
        due.append(moment)
        moment += chance.expovariate(rate)
    return due


def resident(server: Server) -> int:
    """Bytes of the processes that every request goes through."""
    processes = psutil.Process(server.process.pid).children(recursive=True)
    marks = ("ServeReplica:kubevoice:Ingress", *proxies.PROCESSES)
    return sum(
        process.memory_info().rss for process in processes if any(mark in " ".join(process.cmdline()) for mark in marks)
    )


def result(capacity: float, stages: dict[float, Stage]) -> dict[str, float | None]:
    """The figures of the last line; those that compare stages are of the lightest at capacity and the heaviest."""
    one, most = stages.get(1.0), stages[max(stages)]
    both = one is not None and one.accepted and most.accepted
    return {
        "accepted_p95_ratio_10x": round(most.first_audio_p95() / one.first_audio_p95(), 2) if one and both else None,
        "refused_p95_ms": round(most.refused_p95() * 1000, 1),
        "hung": sum(stage.hung for stage in stages.values()),
        "throughput_ratio_10x": round(most.throughput / one.throughput, 2) if one and both else None,
        "failed": sum(stage.failed for stage in stages.values()),
        "capacity_rps": round(capacity, 2),
        "rss_growth_mb": round(most.growth_mb, 1),
        "lateness_p95_ms": round(p95([each.late_s for each in most.outcomes]) * 1000, 1),
    }


def line(load: float, stage: Stage) -> str:
    first = statistics.median([each.first_s or 0.0 for each in stage.accepted]) if stage.accepted else 0.0
    return (
        f"{load:5.1f}x: {stage.rate:6.2f} a second, {stage.throughput:6.2f} answered, {len(stage.refused):4d} refused, "
        f"first audio {first * 1000:6.0f} ms (p95 {stage.first_audio_p95() * 1000:6.0f}), "
        f"refusal p95 {stage.refused_p95() * 1000:6.0f} ms"
    )


if __name__ == "__main__":
    main()
