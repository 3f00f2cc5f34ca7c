"""compose.yaml: safe by default, and in terms that compose and kubevoice know."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from serving.local import DRAIN_S
from serving.settings import setting_rows
from tests.image.dockerfile import parse

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = ["kubevoice", "kubevoice-cpu"]

STRINGS = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
DEVICE = {
    "type": "object",
    "properties": {"driver": {"type": "string"}, "count": {"type": "integer"}, "capabilities": STRINGS},
    "required": ["capabilities"],
    "additionalProperties": False,
}
SERVICE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "image": {"type": "string"},
        "build": {
            "type": "object",
            "properties": {"context": {"type": "string"}, "args": {"additionalProperties": {"type": "string"}}},
            "additionalProperties": False,
        },
        "profiles": STRINGS,
        "entrypoint": STRINGS,
        "command": STRINGS,
        "environment": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
        "ports": {"type": "array", "items": {"type": "string", "pattern": r"^\S+:\d+$"}},
        "volumes": {"type": "array", "items": {"type": "string", "pattern": r"^\w+:/\w+$"}},
        "tmpfs": STRINGS,
        "read_only": {"type": "boolean"},
        "cap_drop": STRINGS,
        "security_opt": STRINGS,
        "shm_size": {"type": "string", "pattern": r"^\d+(mb|gb)$"},
        "stop_grace_period": {"type": "string", "pattern": r"^\d+s$"},
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "healthcheck": {
            "type": "object",
            "properties": {"disable": {"type": "boolean"}},
            "additionalProperties": False,
        },
        "deploy": {
            "properties": {
                "resources": {
                    "properties": {"reservations": {"properties": {"devices": {"type": "array", "items": DEVICE}}}}
                }
            }
        },
    },
    "required": ["image", "profiles"],
    "additionalProperties": False,
}
"""The part of the compose specification that we use."""


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_written_as_compose_reads_it(name: str) -> None:
    assert [error.message for error in Draft202012Validator(SERVICE).iter_errors(SERVICES[name])] == []


def test_one_profile_starts_one_server() -> None:
    assert set(COMPOSE) <= {"name", "services", "volumes"} | {key for key in COMPOSE if key.startswith("x-")}
    assert {name: SERVICES[name]["profiles"] for name in SERVERS} == {"kubevoice": ["gpu"], "kubevoice-cpu": ["cpu"]}
    assert SERVICES["models"]["profiles"] == ["models"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_write_nothing_but_tmp_and_the_volume(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp:mode=1777"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == ["data:/data"]
    assert "data" in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_only_settings_and_variables_that_are_known_are_set(name: str) -> None:
    known = {row[0] for row in setting_rows()} | {"HF_ENDPOINT", "HF_TOKEN", "HTTPS_PROXY"}
    assert set(SERVICES[name].get("environment", {})) <= known


@pytest.mark.parametrize("name", SERVERS)
def test_the_port_is_published_on_this_machine_only(name: str) -> None:
    assert [default(port) for port in SERVICES[name]["ports"]] == ["127.0.0.1:8000:8000"]


@pytest.mark.parametrize("name", SERVERS)
def test_streams_may_finish_before_the_container_is_killed(name: str) -> None:
    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > DRAIN_S


def test_the_gpu_is_asked_for_where_it_is_used() -> None:
    (device,) = SERVICES["kubevoice"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert "deploy" not in SERVICES["kubevoice-cpu"]
    assert "deploy" not in SERVICES["models"]


def test_what_ends_by_itself_is_not_asked_for_its_health() -> None:
    assert SERVICES["models"]["healthcheck"] == {"disable": True}
    assert "restart" not in SERVICES["models"]


@pytest.mark.parametrize("name", SERVICES)
def test_the_build_arguments_are_the_dockerfiles_with_its_defaults(name: str) -> None:
    known = parse((ROOT / "Dockerfile").read_text()).arguments
    given = {key: default(value) for key, value in SERVICES[name]["build"]["args"].items()}
    assert given
    assert given == {key: known[key] for key in given}


def test_compose_itself_accepts_it() -> None:
    for command in (["docker", "compose"], ["podman-compose"]):
        if shutil.which(command[0]) and works([*command, "version"]):
            break
    else:
        pytest.skip("neither docker compose nor podman-compose is on this machine")
    result = subprocess.run(
        [*command, "--profile", "gpu", "--profile", "cpu", "--profile", "models", "config"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert set(yaml.safe_load(result.stdout)["services"]) == set(SERVICES)


def works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def default(text: str) -> str:
    """``text`` with ``${NAME:-value}`` and ``${NAME-value}`` replaced by the value."""
    return re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", text)
