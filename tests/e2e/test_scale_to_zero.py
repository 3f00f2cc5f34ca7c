"""No speech replica while nobody speaks: probes do not start one, a request does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.e2e.ray_cluster import ray_cluster

pytestmark = [pytest.mark.xdist_group("ray_nodes"), pytest.mark.timeout(600)]


def eventually(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.5)


def test_probes_leave_a_sleeping_service_asleep_and_a_request_wakes_it(tmp_path: Path) -> None:
    application = {
        "name": "kubevoice",
        "route_prefix": "/",
        "import_path": "serving.app:build",
        "args": {
            "engine": "espeak",
            "data": str(tmp_path / "data"),
            "replicas": {"min": 0, "max": 2},
        },
        "deployments": [
            {
                "name": "Espeak",
                "autoscaling_config": {
                    "min_replicas": 0,
                    "initial_replicas": 1,
                    "max_replicas": 2,
                    "metrics_interval_s": 1,
                    "look_back_period_s": 2,
                    "upscale_delay_s": 1,
                    "downscale_delay_s": 1,
                    "downscale_to_zero_delay_s": 5,
                },
            }
        ],
    }
    with (
        ray_cluster(application, {"RAY_SERVE_ENABLE_HA_PROXY": "1"}) as cluster,
        httpx.Client(base_url=cluster.url, timeout=120) as client,
    ):

        def ready() -> dict[str, str | None]:
            for _ in range(5):
                answer = client.get("/readyz")
                if "did not answer within" not in answer.text:  # a busy machine, and no word about the service
                    break
            assert answer.status_code == 200, answer.text
            body: dict[str, str | None] = answer.json()
            return body

        def speaks_awake() -> bool:
            """Whether it spoke and, asked right after it, is awake; the two are seconds apart on a busy machine."""
            body = {"model": "tts-1", "voice": "alloy", "input": "Good morning.", "response_format": "wav"}
            answer = client.post("/v1/audio/speech", json=body)
            assert answer.status_code == 200, answer.text
            return ready()["detail"] is None

        eventually(speaks_awake, 120)
        eventually(lambda: ready()["detail"] is not None, 120)
        assert ready()["model"] == "espeak", "what is known of the model is still said"
        began = time.monotonic()
        while time.monotonic() - began < 8:  # longer than a cold start takes
            assert "the next request starts one" in str(ready()["detail"])
            assert client.get("/v1/models").status_code == 200
            time.sleep(0.5)
        eventually(speaks_awake, 120)
