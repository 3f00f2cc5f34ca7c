"""templates/_container.tpl: Ray's container in head and workers."""

from __future__ import annotations

import math
from typing import Any

import pytest

from serving.settings import PREFIX, setting_rows
from tests.charts.ray.cluster import container, environment, head, only_group, worker


def test_every_setting_in_the_environment_is_one() -> None:
    known = {name for name, _, _ in setting_rows()}
    for template in (head(), worker(), worker(name="api")):
        assert {name for name in environment(template) if name.startswith(PREFIX)} <= known


def test_every_node_can_build_the_application() -> None:
    for template in (head(), worker(), worker(name="api")):
        variables = environment(template)
        assert variables["KUBEVOICE_DATA"] == "/data"
        assert variables["KUBEVOICE_DATABASE__URL"] == {"secretKeyRef": {"name": "records", "key": "url"}}
        assert variables["KUBEVOICE_LAUNCH__TEMPLATE"] == "voices-kubevoice-training-template"


def test_the_password_of_the_bundled_database_comes_before_the_address_that_holds_it() -> None:
    values = {"postgresql": {"bundled": {"enabled": True}, "existingSecret": {"name": ""}}}
    names = list(environment(worker(values)))
    assert names.index("DATABASE_PASSWORD") < names.index("KUBEVOICE_DATABASE__URL")


def test_the_redis_of_quotas_comes_from_a_secret_where_there_is_one() -> None:
    assert "KUBEVOICE_QUOTAS__REDIS_URL" not in environment(head())
    values = {"quotas": {"redisSecret": {"name": "counts", "key": "redis"}}}
    for template in (head(values), worker(values, "api")):
        secret = {"secretKeyRef": {"name": "counts", "key": "redis"}}
        assert environment(template)["KUBEVOICE_QUOTAS__REDIS_URL"] == secret


def test_without_training_no_template_is_named() -> None:
    assert "KUBEVOICE_LAUNCH__TEMPLATE" not in environment(worker({"training": {"enabled": False}}, "api"))


def test_ray_stays_quiet_and_finds_a_dead_proxy_at_once() -> None:
    variables = environment(worker())
    assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
    assert float(variables["RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S"]) == 1
    assert float(variables["RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S"]) == 2


def test_haproxy_lets_the_longest_utterance_end() -> None:
    for template in (head(), worker()):
        variables = environment(template)
        assert variables["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
        assert variables["RAY_SERVE_DEFAULT_HTTP_HOST"] == "0.0.0.0"
        assert int(variables["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]) > 90
        assert {"name": "haproxy-metrics", "containerPort": 9101} in container(template)["ports"]


def test_without_haproxy_nothing_of_it_is_left() -> None:
    template = worker({"ray": {"haProxy": False}})
    assert not [name for name in environment(template) if "HAPROXY" in name or "HA_PROXY" in name]
    assert [port["name"] for port in container(template)["ports"]] == ["serve", "metrics"]


def test_only_pods_that_ask_for_gpus_see_them() -> None:
    assert environment(head())["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert environment(worker(name="api"))["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "NVIDIA_VISIBLE_DEVICES" not in environment(worker())
    assert environment(worker())["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] == "1"


def test_a_group_s_gpus_are_its_limit() -> None:
    assert container(worker())["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container(worker(only_group(gpus=4)))["resources"] == {
        "requests": {"cpu": "4"},
        "limits": {"nvidia.com/gpu": 4},
    }
    espeak = {**only_group(gpus=0), "settings": {"engine": "espeak"}}
    assert "limits" not in container(worker(espeak))["resources"]


def test_variables_of_the_values_replace_ours_and_the_group_s_those_of_all() -> None:
    values: dict[str, Any] = only_group(env=[{"name": "LANG", "value": "de_DE.UTF-8"}])
    values["pods"] = {
        "env": [{"name": "HOME", "value": "/scratch"}, {"name": "LANG", "value": "C.UTF-8"}],
        "envFrom": [{"configMapRef": {"name": "proxy"}}],
    }
    variables = environment(worker(values))
    assert (variables["HOME"], variables["LANG"]) == ("/scratch", "de_DE.UTF-8")
    assert environment(head(values))["LANG"] == "C.UTF-8"
    assert container(worker(values))["envFrom"] == [{"configMapRef": {"name": "proxy"}}]


@pytest.mark.parametrize("seconds", [1, 45, 1800])
def test_ray_may_take_the_start_up_budget(seconds: int) -> None:
    probe = container(worker({"lifecycle": {"startupSeconds": seconds}}))["startupProbe"]
    assert math.isclose(probe["periodSeconds"] * probe["failureThreshold"], seconds, abs_tol=probe["periodSeconds"])


def test_a_worker_is_ready_when_its_proxy_is_and_alive_when_its_raylet_is() -> None:
    found = container(worker())
    assert found["readinessProbe"]["httpGet"] == {"path": "/-/healthz", "port": "serve"}
    assert found["livenessProbe"]["httpGet"] == {"path": "/api/healthz", "port": 52365}
    assert {"name": "serve", "containerPort": 8000} in found["ports"]


def test_the_head_is_ready_when_its_control_plane_is() -> None:
    assert container(head())["readinessProbe"]["httpGet"] == {"path": "/api/healthz", "port": 52365}


def test_probes_ask_what_ray_answers_without_a_token() -> None:
    from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS

    for template in (head(), worker()):
        for probe in ("startupProbe", "livenessProbe"):
            assert container(template)[probe]["httpGet"]["path"] in PUBLIC_EXACT_PATHS


def test_the_head_names_the_ports_that_kuberay_and_prometheus_look_for() -> None:
    ports = {port["name"]: port["containerPort"] for port in container(head())["ports"]}
    assert ports == {
        "gcs-server": 6379,
        "dashboard": 8265,
        "client": 10001,
        "serve": 8000,
        "metrics": 8080,
        "as-metrics": 44217,
        "dash-metrics": 44227,
        "haproxy-metrics": 9101,
    }
