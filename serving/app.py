"""The Ray Serve application: what a cluster's config file names as ``serving.app:build``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from ray.serve import Application
from ray.serve.config import AutoscalingConfig, RequestRouterConfig

from serving.deployments.conversion import Conversion
from serving.deployments.ingress import Ingress
from serving.deployments.jobs import Jobs
from serving.deployments.speech import Speech
from serving.selection import choose_engine, conversion_fault
from serving.settings import Settings, load_settings, without_secrets
from serving.settings_groups import ReplicaSettings, RvcReplicaSettings
from serving.store.models import ModelStore
from serving.store.volume import Volume

INGRESS_ONGOING = 2048
"""Requests one ingress replica holds; far above what it admits, so that it refuses itself, in the API's words."""

LOOK_AGAIN_S = 0.05
"""Longest time between two looks for a replica with room. Ray's half a second leaves slots empty for those who wait."""

ROUTING = RequestRouterConfig(max_backoff_s=LOOK_AGAIN_S)  # type: ignore[arg-type]  # mypy takes it for another field

DRAIN_S = 120.0
"""How long a stopping replica may finish its streams: longer than any utterance takes."""


def build(args: Mapping[str, Any] | Settings) -> Application:
    """The Ray Serve application; ``args`` are settings (nested as in ``serving.settings``) or a parsed tree."""
    settings = args if isinstance(args, Settings) else load_settings(args)
    models = ModelStore(Volume(settings.data))
    engine = choose_engine(settings, models).engine
    speech = Speech.options(
        name=engine.capitalize(),
        max_ongoing_requests=settings.limits.ongoing_per_replica,
        request_router_config=ROUTING,
        ray_actor_options={"num_cpus": settings.replicas.cpus, "num_gpus": _gpus(engine, settings)},
        **_scale(settings.replicas, settings.limits.ongoing_per_replica),
        **_lifecycle(),
    ).bind(_replica_settings(settings))
    conversion = None if conversion_fault(settings, models) else _conversion(settings)
    return Ingress.options(
        name="Ingress",
        num_replicas=settings.replicas.ingress,
        max_ongoing_requests=INGRESS_ONGOING,
        ray_actor_options={"num_cpus": 0.5},
        **_lifecycle(),
    ).bind(speech, _replica_settings(settings), conversion, _jobs(speech, settings) if settings.jobs.workers else None)


def _jobs(speech: Application, settings: Settings) -> Application:
    """The replicas that speak jobs: part of the application because the ingress is given their handle."""
    return Jobs.options(
        name="Jobs",
        num_replicas=settings.jobs.workers,
        ray_actor_options={"num_cpus": 0},  # they wait for engines
        **_lifecycle(),
    ).bind(speech, _replica_settings(settings))


def _conversion(settings: Settings) -> Application:
    replicas = settings.rvc.replicas
    return Conversion.options(
        name="Rvc",
        max_ongoing_requests=replicas.ongoing,
        request_router_config=ROUTING,
        ray_actor_options={
            "num_cpus": replicas.cpus,
            "num_gpus": 0.0 if settings.rvc.device == "cpu" else replicas.gpus,
        },
        **_scale(replicas, replicas.ongoing),
        **_lifecycle(),
    ).bind(_replica_settings(settings))


def _replica_settings(settings: Settings) -> Settings:
    """What replicas are given. Secrets of the environment they read there themselves.

    Ray Serve keeps what is bound in its control state, which may lie in Redis: no place for a password.
    """
    return without_secrets(settings)


def _gpus(engine: str, settings: Settings) -> float:
    return settings.replicas.gpus if engine == "xtts" and settings.xtts.device != "cpu" else 0.0


def _scale(replicas: ReplicaSettings | RvcReplicaSettings, ongoing: int) -> dict[str, Any]:
    low, high = replicas.min, replicas.max
    if low == high:
        return {"num_replicas": low}
    with warnings.catch_warnings():
        # metrics_interval_s is deprecated, but its successor is not read by Ray 2.60.
        warnings.simplefilter("ignore", DeprecationWarning)
        scaling = AutoscalingConfig(
            min_replicas=low,
            initial_replicas=max(1, low),  # an installation that scales to zero proves its weights once
            max_replicas=high,
            target_ongoing_requests=max(1.0, ongoing / 2),
            # With Ray's defaults the decision for more replicas takes 40 s; see docs/performance.md.
            metrics_interval_s=1.0,
            look_back_period_s=2.0,
            upscale_delay_s=1.0,
            downscale_delay_s=60.0,
        )
    return {"autoscaling_config": scaling}


def _lifecycle() -> dict[str, Any]:
    return {
        "max_surge_percent": 100,
        "health_check_period_s": 2.0,
        "health_check_timeout_s": 10.0,
        "graceful_shutdown_timeout_s": DRAIN_S,
        "graceful_shutdown_wait_loop_s": 0.5,
        "logging_config": {"encoding": "JSON", "log_level": "WARNING", "enable_access_log": False},  # ours says more
    }
