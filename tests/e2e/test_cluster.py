"""What the chart deploys, on five Ray nodes: it speaks, scales, changes and loses nodes, and streams go on.

Requests enter as through a Service: at any node whose proxy is ready, HAProxy's as the chart sets it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.charts.metric_names import HARDWARE, KUBE_STATE, names_in_use
from tests.charts.rendering import merged
from tests.e2e.callers import Callers, Endpoints
from tests.e2e.cluster import TIMEOUT_S, Cluster, rendered_config, running_cluster
from tests.e2e.conftest import publish_checkpoint
from tests.e2e.ports import free_port

pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.timeout(900)]

CPU = {"requests": {"cpu": "1"}}

VALUES: dict[str, Any] = {
    "settings": {
        "xtts": {"device": "auto"},  # the GPUs are not real
        # A node that starts on these cores slows those that speak: nobody is refused for a wait of more than a second.
        "limits": {"ongoing_per_replica": 4, "max_wait_s": 120},
    },
    # A text of several pieces is two ongoing requests: what is spoken, and what is fetched ahead.
    # The delay outlasts the seconds in which replicas that start on these cores keep others from reporting their load.
    "speech": {"minReplicas": 1, "maxReplicas": 3, "cpus": 1, "targetOngoingRequests": 2, "downscaleDelaySeconds": 12},
    "api": {"minReplicas": 1, "maxReplicas": 1, "cpus": 0.5},
    "workerGroups": [
        {"name": "api", "runs": ["api"], "minReplicas": 1, "maxReplicas": 1, "resources": CPU},
        {"name": "gpu", "runs": ["speech"], "minReplicas": 1, "maxReplicas": 4, "gpus": 1, "resources": CPU},
    ],
}

TEXT = " ".join(f"Sentence {index} goes on for a while, so that there is something to stream." for index in range(8))
SECOND = 2 * 24_000
"""Bytes of pcm."""

SPEECH = {"model": "tts-1", "voice": "default", "input": TEXT, "response_format": "pcm", "seed": 7}
LONG_SPEECH = {**SPEECH, "input": " ".join([TEXT] * 6)}


@dataclass(frozen=True)
class Deployed:
    """The cluster, and how its configuration changes."""

    cluster: Cluster
    data: Path
    port: int

    def put(self, *values: dict[str, Any]) -> None:
        """Deploy what the chart renders with ``values`` on top of ``VALUES``."""
        self.cluster.put(rendered_config(merged(VALUES, *values), self.data, self.port))

    def running(self) -> set[str]:
        """Ids of all replicas that run."""
        return self.cluster.ids("Xtts") | self.cluster.ids("Ingress")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    data = tmp_path_factory.mktemp("volume") / "data"
    publish_checkpoint(data)
    with running_cluster(VALUES) as cluster:
        yield Deployed(cluster, data, free_port())


@pytest.fixture
def deployed(started: Deployed) -> Deployed:
    """Every test begins with the chart's configuration and the one replica that its minimum asks for."""
    started.put()
    started.cluster.wait(lambda: len(started.cluster.ids("Xtts")) == 1, "one replica")
    started.cluster.wait(started.cluster.listens, "the proxy beside the API's replica")
    return started


@pytest.fixture
def endpoints(deployed: Deployed) -> Iterator[Endpoints]:
    with Endpoints(lambda: [node.url for node in deployed.cluster.nodes if node.role != "head"]) as endpoints:
        yield endpoints


def test_replicas_run_on_the_nodes_that_the_chart_gives_them(deployed: Deployed) -> None:
    roles = {node.id: node.role for node in deployed.cluster.nodes}
    application = deployed.cluster.application()["deployments"]
    assert {roles[replica["node_id"]] for replica in application["Ingress"]["replicas"]} == {"api"}
    assert {roles[replica["node_id"]] for replica in application["Xtts"]["replicas"]} == {"speech"}
    assert application["Xtts"]["required_resources"] == {"CPU": 1.0, "GPU": 1.0, "kubevoice-speech": 0.001}


def test_replicas_follow_the_load_from_one_to_three_and_back_and_no_stream_is_cut(
    deployed: Deployed, endpoints: Endpoints
) -> None:
    cluster = deployed.cluster
    with Callers(endpoints, 1, SPEECH) as patient:  # speaks on while replicas leave
        with Callers(endpoints, 5, SPEECH) as crowd:
            cluster.wait(lambda: len(cluster.ids("Xtts")) == 3, "three replicas")
            cluster.wait(lambda: len(endpoints.ready) == 4, "the proxies beside them")
            enough = len(crowd.answers) + 8
            cluster.wait(lambda: len(crowd.answers) > enough, "answers of all three")
        # its text goes in pieces, the next one ahead, which may count as two requests
        cluster.wait(lambda: len(cluster.ids("Xtts")) < 3, "fewer replicas")
    cluster.wait(lambda: len(cluster.ids("Xtts")) == 1, "one replica")
    crowd.assert_whole()
    patient.assert_whole()
    assert len(patient.answers[0]) > SECOND


def test_a_change_of_bounds_and_delays_restarts_nothing(deployed: Deployed) -> None:
    before = deployed.running()
    deployed.put({"speech": {"maxReplicas": 2, "targetOngoingRequests": 3, "downscaleDelaySeconds": 9}})
    assert deployed.running() == before


def test_speech_scales_to_zero_where_probes_leave_it_and_a_request_wakes_it(deployed: Deployed) -> None:
    cluster = deployed.cluster
    deployed.put({"speech": {"minReplicas": 0, "downscaleToZeroDelaySeconds": 2}})
    cluster.wait(lambda: not cluster.replicas("Xtts", "STARTING", "RUNNING", "STOPPING"), "no replica")

    def says_that_it_sleeps() -> bool:
        ready = httpx.get(f"{cluster.url}/readyz", timeout=60)
        # On a busy machine the answer may come later than a probe waits, which says nothing.
        assert ready.status_code == 200 or "did not answer within" in ready.text, ready.text
        return "the next request starts one" in ready.text

    for _ in range(3):
        cluster.wait(says_that_it_sleeps, "a probe's answer")
    assert not cluster.replicas("Xtts", "STARTING", "RUNNING"), "a probe woke a GPU"
    answer = httpx.post(f"{cluster.url}/v1/audio/speech", json=SPEECH, timeout=180)
    assert answer.status_code == 200
    assert len(answer.content) > SECOND


def test_every_metric_of_a_dashboard_or_an_alert_is_in_a_live_scrape(deployed: Deployed) -> None:
    cluster = deployed.cluster
    speech = f"{cluster.url}/v1/audio/speech"
    whole = httpx.post(speech, json=SPEECH, timeout=180)  # what is known only at an end needs one
    assert whole.status_code == 200
    refused = httpx.post(speech, json={**SPEECH, "input": ""}, timeout=60)
    assert refused.status_code == 400
    with httpx.stream("POST", speech, json=LONG_SPEECH, timeout=180) as left_early:
        next(left_early.iter_raw())
    before = cluster.ids("Xtts")
    with httpx.stream("POST", speech, json=LONG_SPEECH, timeout=180) as broken:
        pieces = broken.iter_raw()
        next(pieces)
        for victim in cluster.processes("Xtts"):  # the load so far may have brought a second one
            victim.kill()
        with pytest.raises(httpx.RemoteProtocolError):
            list(pieces)
    missing = names_in_use() - HARDWARE - KUBE_STATE
    deadline = time.monotonic() + TIMEOUT_S
    while missing and time.monotonic() < deadline:
        missing = missing - cluster.scrape()  # a gauge that is set every few seconds is not in every page
    assert not missing
    cluster.wait(lambda: not before & cluster.ids("Xtts"), "the dead replica to be noticed")


@pytest.mark.slow
def test_fewer_replicas_are_allowed_while_all_of_them_speak(deployed: Deployed, endpoints: Endpoints) -> None:
    cluster = deployed.cluster
    with Callers(endpoints, 5, SPEECH) as callers:
        cluster.wait(lambda: len(cluster.ids("Xtts")) == 3, "three replicas")
        before = deployed.running()
        deployed.put({"speech": {"maxReplicas": 2}})
        cluster.wait(lambda: len(cluster.ids("Xtts")) == 2, "one replica less")
        assert deployed.running() < before
        cluster.wait(lambda: not cluster.replicas("Xtts", "STOPPING"), "the end of the streams on the third")
    callers.assert_whole()


@pytest.mark.slow
def test_other_settings_replace_every_replica_and_no_request_fails(deployed: Deployed, endpoints: Endpoints) -> None:
    before = deployed.running()
    with Callers(endpoints, 2, SPEECH) as callers:
        # At most two of three GPUs are busy: a surge needs one to spare.
        deployed.put({"speech": {"maxReplicas": 2}, "settings": {"limits": {"queued_per_ingress": 32}}})
        deployed.cluster.wait(lambda: not before & deployed.running(), "new replicas")
    callers.assert_whole()


@pytest.mark.slow
def test_the_loss_of_a_gpu_node_costs_a_client_one_request_at_most_and_a_new_node_joins_in(
    deployed: Deployed, endpoints: Endpoints
) -> None:
    cluster, clients = deployed.cluster, 5
    with Callers(endpoints, clients, SPEECH) as callers:
        cluster.wait(lambda: len(cluster.ids("Xtts")) == 3, "three replicas")
        lost = cluster.of("speech")[0]
        cluster.remove(lost)
        cluster.wait(lambda: len(cluster.ids("Xtts")) == 2, "the loss to be noticed")
        cluster.wait(lambda: len(endpoints.ready) == 3, "its proxy to leave the Service")
        # A request that the loss cuts may learn of it later than Serve does: all that were under way have to end.
        rounds = list(callers.rounds)
        cluster.wait(lambda: callers.have_gone_round(rounds), "the end of what was under way")
        failures = len(callers.failures)
        cluster.add()
        cluster.wait(lambda: len(cluster.ids("Xtts")) == 3, "full strength")
    assert len(callers.failures) == failures
    # Until a probe misses its proxy the Service still names the node; a connection that is refused has lost nothing.
    refused = [failure for failure in callers.failures if "ConnectError" in failure]
    cut = [failure for failure in callers.failures if "RemoteProtocolError" in failure or "ReadError" in failure]
    assert len(refused) + len(cut) == failures, callers.failures
    assert all(failure.startswith(lost.url) for failure in refused), refused
    assert len(cut) <= clients, cut
    callers.assert_alike()
