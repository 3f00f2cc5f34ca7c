"""How soon speech grows: the chart's delays beside Ray's defaults, on the same cluster in one run.

    python -m benchmarks.autoscaling [--engine xtts] [--rounds 3]

A cluster of five Ray nodes on this machine gets what the chart renders, once as it is and once without its delays. The
engine is espeak-ng, whose replicas start in no time, or XTTS with a tiny checkpoint, whose imports take seconds. The
last line is one JSON object, medians in seconds:

decided_s     from the first of 8 endless callers to the decision for 3 replicas instead of 1
ready_s       from the same moment until 3 replicas run
cold_s        from a request to its first byte where no replica runs
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.callers import Callers, Endpoints
from tests.e2e.cluster import Cluster, rendered_config, running_cluster
from tests.e2e.conftest import publish_checkpoint
from tests.e2e.ports import free_port

CALLERS = 8
TEXT = " ".join(f"Sentence {index} of a text that goes on for quite some time." for index in range(60))
SPEECH = {"model": "tts-1", "voice": "default", "input": TEXT, "response_format": "pcm", "seed": 7}

Figures = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["espeak", "xtts"], default="espeak")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with deployed(options.engine) as (cluster, config):
        variants = {"chart": config, "ray": without_delays(config)}
        found: dict[str, Figures] = {name: {"decided_s": [], "ready_s": [], "cold_s": []} for name in variants}
        for _ in range(options.rounds):
            for name, variant in variants.items():
                measure(cluster, variant, options.engine.capitalize(), found[name])
    result = {
        name: {figure: round(statistics.median(values), 1) for figure, values in figures.items()}
        for name, figures in found.items()
    }
    for figure, tuned in result["chart"].items():
        default = result["ray"][figure]
        print(
            f"{figure:10} {tuned:6.1f} s with the chart's delays, {default:6.1f} s with Ray's ({default / tuned:.1f}x)"
        )
    print(json.dumps(result))


@contextmanager
def deployed(engine: str) -> Iterator[tuple[Cluster, dict[str, Any]]]:
    """A cluster, and what the chart renders for it."""
    values = {
        "settings": {"engine": engine, "xtts": {"device": "auto"}},
        "speech": {"minReplicas": 1, "maxReplicas": 3, "targetOngoingRequests": 1, "cpus": 1, "maxSurgePercent": 0},
        "api": {"minReplicas": 1, "maxReplicas": 1, "cpus": 0.5},
    }
    with tempfile.TemporaryDirectory() as folder, running_cluster(values) as cluster:
        publish_checkpoint(Path(folder) / "data")
        yield cluster, rendered_config(values, Path(folder) / "data", free_port())


def without_delays(config: dict[str, Any]) -> dict[str, Any]:
    """``config`` with Ray's own idea of how often to measure and how long to wait."""
    return scaling(config, {}, keep=("min_replicas", "max_replicas", "target_ongoing_requests"))


def scaling(config: dict[str, Any], changes: dict[str, float], keep: tuple[str, ...] = ()) -> dict[str, Any]:
    """``config`` with ``changes`` in the autoscaling of speech; of what was there only ``keep``, if given."""
    changed = copy.deepcopy(config)
    speech = changed["applications"][0]["deployments"][1]
    before = speech["autoscaling_config"]
    speech["autoscaling_config"] = {key: before[key] for key in keep or before} | changes
    return changed


def measure(cluster: Cluster, config: dict[str, Any], deployment: str, found: Figures) -> None:
    """One round. How soon replicas stop is not measured, so both variants stop them soon."""
    soon = {"downscale_delay_s": 1.0, "downscale_to_zero_delay_s": 1.0}
    cluster.put(scaling(config, {**soon, "min_replicas": 1}))
    cluster.wait(lambda: len(cluster.ids(deployment)) == 1, "one replica")
    with Endpoints(lambda: [cluster.url]) as endpoints:
        began = time.monotonic()
        with Callers(endpoints, CALLERS, SPEECH) as callers:
            cluster.wait(lambda: cluster.target(deployment) == 3, "the decision")
            found["decided_s"].append(time.monotonic() - began)
            cluster.wait(lambda: len(cluster.ids(deployment)) == 3, "three replicas")
            found["ready_s"].append(time.monotonic() - began)
        callers.assert_whole()
    cluster.put(scaling(config, {**soon, "min_replicas": 0}))
    cluster.wait(lambda: not cluster.replicas(deployment, "STARTING", "RUNNING", "STOPPING"), "no replica")
    found["cold_s"].append(first_byte_s(cluster))


def first_byte_s(cluster: Cluster) -> float:
    began = time.monotonic()
    with httpx.stream("POST", f"{cluster.url}/v1/audio/speech", json=SPEECH, timeout=180) as answer:
        answer.raise_for_status()
        next(answer.iter_raw())
        return time.monotonic() - began


if __name__ == "__main__":
    main()
