"""templates/ray/rayservice.yaml."""

from __future__ import annotations

from typing import Any

import pytest

from tests.charts.ray.cluster import head, raycluster, rayservice, worker
from tests.charts.rendering import merged, one, profile, render

OPEN: dict[str, Any] = {"exposure": {"allowUnauthenticated": True}}


def test_the_service_in_front_has_the_release_s_name() -> None:
    values: dict[str, Any] = {"service": {"type": "LoadBalancer", "annotations": {"lb": "internal"}}}
    service = rayservice(OPEN | values)["spec"]["serveService"]
    assert service["metadata"]["name"] == "voices-kubevoice"
    assert service["metadata"]["annotations"] == {"lb": "internal"}
    assert service["spec"] == {"type": "LoadBalancer", "ports": [{"name": "serve", "port": 8000}]}


def test_traffic_and_replicas_stay_off_the_head() -> None:
    service = rayservice()["spec"]
    assert service["excludeHeadPodFromServeSvc"] is True
    assert service["rayClusterConfig"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_an_upgrade_makes_a_second_cluster_and_keeps_the_first_for_its_streams() -> None:
    spec = rayservice({"upgrade": {"deletionDelaySeconds": 450}})["spec"]
    assert spec["upgradeStrategy"] == {"type": "NewCluster"}
    assert spec["rayClusterDeletionDelaySeconds"] == 450


def test_an_upgrade_in_place_is_possible_where_there_is_no_room_for_two() -> None:
    assert rayservice({"upgrade": {"type": "None"}})["spec"]["upgradeStrategy"] == {"type": "None"}


def test_an_incremental_upgrade_leaves_gateway_and_services_to_kuberay() -> None:
    upgrade = {"type": "NewClusterWithIncrementalUpgrade", "gatewayClassName": "istio", "maxSurgePercent": 50}
    spec = rayservice(OPEN | {"upgrade": upgrade})["spec"]
    assert "serveService" not in spec
    assert spec["upgradeStrategy"]["clusterUpgradeOptions"] == {
        "gatewayClassName": "istio",
        "stepSizePercent": 10,
        "intervalSeconds": 60,
        "maxSurgePercent": 50,
    }


def test_ray_s_ports_ask_for_the_token_of_the_keys() -> None:
    assert raycluster()["authOptions"] == {"mode": "token", "secretName": "voices-kubevoice-keys"}
    assert raycluster({"secrets": {"existingSecret": "mine"}})["authOptions"]["secretName"] == "mine"


def test_without_authentication_nothing_expects_a_token() -> None:
    open_ray = {"ray": {"authentication": False}}
    cluster = raycluster(open_ray)
    assert cluster["authOptions"] == {"mode": "disabled"}
    off = {"name": "RAY_AUTH_MODE", "value": "disabled"}
    assert off in cluster["autoscalerOptions"]["env"]
    for template in (head(open_ray), worker(open_ray)):
        assert off in template["spec"]["containers"][0]["env"]


def test_control_state_stays_in_memory_unless_asked() -> None:
    assert "gcsFaultToleranceOptions" not in raycluster()


def test_control_state_in_your_redis_with_and_without_a_password() -> None:
    fault_tolerance = {"gcsFaultTolerance": {"enabled": True}}
    redis: dict[str, Any] = {"address": "redis.example.org:6379"}
    bare = {"ray": fault_tolerance, "redis": redis}
    assert raycluster(bare)["gcsFaultToleranceOptions"] == {"redisAddress": "redis.example.org:6379"}
    locked = {"ray": fault_tolerance, "redis": {**redis, "existingSecret": {"name": "login", "key": "pass"}}}
    assert raycluster(locked)["gcsFaultToleranceOptions"]["redisPassword"] == {
        "valueFrom": {"secretKeyRef": {"name": "login", "key": "pass"}}
    }


def test_control_state_in_the_bundled_redis() -> None:
    values = {"ray": {"gcsFaultTolerance": {"enabled": True}}, "redis": {"bundled": {"enabled": True}}}
    options = raycluster(values)["gcsFaultToleranceOptions"]
    assert options["redisAddress"] == "voices-kubevoice-redis:6379"
    assert options["redisPassword"]["valueFrom"]["secretKeyRef"]["name"] == "voices-kubevoice-keys"


def test_two_clusters_never_share_control_state() -> None:
    values = {"ray": {"gcsFaultTolerance": {"enabled": True}}, "redis": {"bundled": {"enabled": True}}}
    assert "externalStorageNamespace" not in raycluster(values)["gcsFaultToleranceOptions"]


def test_the_autoscaler_waits_for_a_pod_as_long_as_it_may_take_to_start() -> None:
    values = {
        "lifecycle": {"startupSeconds": 4000},
        "ray": {"autoscaler": {"idleTimeoutSeconds": 30, "upscalingMode": "Conservative"}},
    }
    cluster = raycluster(values)
    options = cluster["autoscalerOptions"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert (options["version"], options["idleTimeoutSeconds"], options["upscalingMode"]) == ("v2", 30, "Conservative")
    assert {"name": "RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S", "value": "4000"} in options["env"]


def test_the_autoscaler_is_as_restricted_as_the_rest() -> None:
    context = raycluster()["autoscalerOptions"]["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_another_chart_version_with_the_same_image_does_not_replace_the_cluster() -> None:
    rendered = str(raycluster({"image": {"tag": "1.0"}, "labels": {"team": "voice"}, "annotations": {"ticket": "7"}}))
    assert "helm.sh/chart" not in rendered
    assert "team" not in rendered
    assert "ticket" not in rendered


@pytest.mark.parametrize("name", ["dev", "gpu", "ha"])
def test_each_profile_makes_a_cluster_that_kuberay_takes(name: str) -> None:
    accepted = {} if name == "dev" else {"models": {"xtts": {"download": {"acceptLicence": True}}}}
    values = merged({"postgresql": {"existingSecret": {"name": ""}}} if name == "dev" else {}, profile(name), accepted)
    assert rayservice(values)["metadata"]["name"] == "voices-kubevoice"


def test_there_is_one_of_it() -> None:
    assert one(render(), "RayService")["metadata"]["namespace"] == "speech"
