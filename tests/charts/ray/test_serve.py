"""templates/_serve.tpl: serveConfigV2, read by Ray Serve itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel
from ray.serve._private.application_state import override_deployment_info
from ray.serve._private.build_app import build_app
from ray.serve._private.deployment_info import DeploymentInfo
from ray.serve.config import AutoscalingConfig
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import (
    DeploymentSchema,
    HTTPOptionsSchema,
    RayActorOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from serving.app import build
from serving.settings import Settings, load_settings
from serving.settings_groups import RvcReplicaSettings
from tests.charts.ray.cluster import serve_config

ESPEAK = {"settings": {"engine": "espeak"}}


def parsed(config: dict[str, Any]) -> ServeDeploySchema:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The `metrics_interval_s` field", DeprecationWarning)
        return ServeDeploySchema.model_validate(config)


def deployed(values: dict[str, Any], data: Path) -> dict[str, DeploymentInfo]:
    """The deployments as Serve's controller makes them of the application and the config."""
    config = serve_config(values)
    app = config["applications"][0]
    built = build_app(
        build({**app["args"], "data": str(data)}),
        name=app["name"],
        make_deployment_handle=lambda *_: cast("DeploymentHandle[Any]", None),
    )
    infos = {
        deployment.name: DeploymentInfo(
            deployment_config=deployment._deployment_config,
            replica_config=deployment._replica_config,
            start_time_ms=0,
            deployer_job_id="",
        )
        for deployment in built.deployments
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The `metrics_interval_s` field", DeprecationWarning)
        overridden: dict[str, DeploymentInfo] = override_deployment_info(infos, parsed(config).applications[0])
    return overridden


def bounds(info: DeploymentInfo) -> tuple[int, int]:
    scaling = info.deployment_config.autoscaling_config
    assert scaling is not None
    return scaling.min_replicas, scaling.max_replicas


def deployment(name: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = next(
        item for item in serve_config(values)["applications"][0]["deployments"] if item["name"] == name
    )
    return found


def settings(values: dict[str, Any] | None = None) -> Settings:
    return load_settings(serve_config(values)["applications"][0]["args"])


def test_ray_serve_takes_it_and_knows_every_key() -> None:
    config = serve_config({"speech": {"minReplicas": 0}})
    parsed(config)
    app = config["applications"][0]
    scaled = [item for item in app["deployments"] if "num_replicas" not in item]
    known: list[tuple[dict[str, Any], type[BaseModel]]] = [
        (config, ServeDeploySchema),
        (config["http_options"], HTTPOptionsSchema),
        (app, ServeApplicationSchema),
        *((item, DeploymentSchema) for item in app["deployments"]),
        *((item["ray_actor_options"], RayActorOptionsSchema) for item in app["deployments"]),
        *((item["autoscaling_config"], AutoscalingConfig) for item in scaled),
    ]
    for given, model in known:  # Serve drops what it does not know without a word
        assert set(given) <= set(model.model_fields), model.__name__


def test_every_node_with_a_replica_takes_traffic() -> None:
    config = serve_config()
    assert config["proxy_location"] == "EveryNode"
    assert (config["http_options"]["host"], config["http_options"]["port"]) == ("0.0.0.0", 8000)


def test_the_load_balancer_closes_idle_connections_first_and_streams_have_no_deadline() -> None:
    options = serve_config({"lifecycle": {"loadBalancerTimeoutSeconds": 600}})["http_options"]
    assert options["keep_alive_timeout_s"] > 600
    assert "request_timeout_s" not in options


def test_the_application_and_the_overrides_fit_together(tmp_path: Path) -> None:
    infos = deployed({**ESPEAK, "speech": {"minReplicas": 0, "maxSurgePercent": 0}}, tmp_path)
    speech, api = infos["Espeak"], infos["Ingress"]
    assert bounds(speech) == (0, 2)
    assert speech.deployment_config.max_surge_percent == 0
    assert speech.deployment_config.graceful_shutdown_timeout_s == 120
    assert speech.deployment_config.max_ongoing_requests == 16
    assert speech.replica_config.ray_actor_options["resources"] == {"kubevoice-speech": 0.001}
    assert bounds(api) == (2, 4)
    assert api.replica_config.ray_actor_options["resources"] == {"kubevoice-api": 0.001}


def test_a_fixed_number_of_replicas_is_not_scaled(tmp_path: Path) -> None:
    infos = deployed({**ESPEAK, "speech": {"minReplicas": 3, "maxReplicas": 3}}, tmp_path)
    assert infos["Espeak"].deployment_config.num_replicas == 3
    assert infos["Espeak"].deployment_config.autoscaling_config is None


def test_scaling_reacts_within_seconds() -> None:
    scaling = deployment("Xtts", {"speech": {"upscaleDelaySeconds": 0.5, "downscaleDelaySeconds": 90}})[
        "autoscaling_config"
    ]
    assert scaling["metrics_interval_s"] < scaling["look_back_period_s"] <= 2
    assert (scaling["upscale_delay_s"], scaling["downscale_delay_s"]) == (0.5, 90)
    assert "downscale_to_zero_delay_s" not in scaling


def test_the_last_replica_stays_longer_than_the_others() -> None:
    assert deployment("Xtts", {"speech": {"minReplicas": 0}})["autoscaling_config"]["downscale_to_zero_delay_s"] == 600


@pytest.mark.parametrize(
    ("values", "gpus"),
    [
        ({}, 1),
        ({"speech": {"gpus": 0.5}}, 0.5),
        ({"settings": {"xtts": {"device": "cpu"}}}, 0),
        ({"settings": {"engine": "espeak"}}, 0),
    ],
)
def test_the_engine_gets_the_gpus_it_can_use(values: dict[str, Any], gpus: float) -> None:
    name = values.get("settings", {}).get("engine", "xtts").capitalize()
    assert deployment(name, values)["ray_actor_options"]["num_gpus"] == gpus
    assert settings(values).replicas.gpus == gpus


def test_the_settings_are_those_of_the_values() -> None:
    values = {
        "settings": {
            "limits": {"input_chars": 1000, "upload_bytes": 20_971_520},
            "voices": {"language": "de", "aliases": {"alloy": "f2"}},
            "xtts": {"model": "house", "fallback_cpu": True},
            "log": {"level": "DEBUG", "format": "text"},
        }
    }
    found = settings(values)
    assert found.data == Path("/data")
    assert (found.limits.input_chars, found.limits.upload_bytes) == (1000, 20_971_520)
    assert found.voices.aliases == {"alloy": "f2"}
    assert (found.xtts.model, found.xtts.device, found.xtts.fallback_cpu) == ("house", "cuda", True)
    assert serve_config(values)["logging_config"]["encoding"] == "TEXT"


def test_more_replicas_do_not_restart_the_others() -> None:
    before = serve_config()["applications"][0]
    after = serve_config({"speech": {"minReplicas": 2, "targetOngoingRequests": 3}, "api": {"maxReplicas": 8}})
    assert after["applications"][0]["args"] == before["args"]
    assert after["applications"][0]["deployments"] != before["deployments"]


CONVERTS: dict[str, Any] = {
    **ESPEAK,
    "conversion": {"enabled": True, "minReplicas": 0, "maxReplicas": 2, "targetOngoingRequests": 4},
    "workerGroups": [
        {
            "name": "all",
            "runs": ["api", "speech", "conversion"],
            "minReplicas": 1,
            "maxReplicas": 9,
            "gpus": 1,
            "resources": {"requests": {"cpu": "4"}},
        }
    ],
}


def test_conversion_is_a_deployment_of_its_own_where_it_is_wanted(tmp_path: Path) -> None:
    assert "Rvc" not in {item["name"] for item in serve_config(ESPEAK)["applications"][0]["deployments"]}
    assert settings().rvc.enabled == "false"
    assert settings(CONVERTS).rvc.enabled == "true"
    directory = tmp_path / "models" / "shared" / "contentvec"
    directory.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (directory / name).touch()
    conversion = deployed(CONVERTS, tmp_path)["Rvc"]
    assert bounds(conversion) == (0, 2)
    assert conversion.deployment_config.max_surge_percent == 0
    assert conversion.replica_config.ray_actor_options["num_gpus"] == 1
    assert conversion.replica_config.ray_actor_options["resources"] == {"kubevoice-conversion": 0.001}


def test_the_target_that_is_allowed_is_what_a_replica_takes() -> None:
    assert RvcReplicaSettings().ongoing == 16  # as templates/checks/_replicas.tpl says


def test_conversion_on_the_cpu_gets_no_gpu() -> None:
    values = {**CONVERTS, "settings": {"engine": "espeak", "rvc": {"device": "cpu"}}}
    assert deployment("Rvc", values)["ray_actor_options"]["num_gpus"] == 0
    assert settings(values).rvc.replicas.gpus == 0
