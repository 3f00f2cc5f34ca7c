"""templates/tests/speaks.yaml"""

from typing import Any

from typer.core import TyperGroup
from typer.main import get_command

from serving.cli import app
from tests.charts.rendering import made_by, one, render

TEMPLATE = "tests/speaks.yaml"
WITH_KEY = {"tests": {"keySecret": {"name": "tester"}}}


def arguments(values: dict[str, Any] | None = None) -> list[str]:
    found: list[str] = one(made_by(TEMPLATE, values), "Pod")["spec"]["containers"][0]["args"]
    return found


def test_it_runs_by_helm_test_only_and_stays_when_it_failed() -> None:
    pod = one(made_by(TEMPLATE), "Pod")
    assert pod["metadata"]["annotations"] == {
        "helm.sh/hook": "test",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }
    assert pod["spec"]["restartPolicy"] == "Never"


def test_it_speaks_the_text_of_the_values_to_the_service() -> None:
    service = one(render(), "RayService")["spec"]["serveService"]["metadata"]["name"]
    text = "Say \"hello\", it's 5 o'clock: #1"
    words = arguments({"tests": {"text": text}})
    assert words == ["kubevoice", "check", f"http://{service}:8000", "--timeout", "240", "--text", text]


def test_it_waits_as_long_as_the_values_say() -> None:
    words = arguments({"tests": {"timeoutSeconds": 1800}})
    assert words[words.index("--timeout") + 1] == "1800"


def test_it_speaks_with_the_key_of_a_secret_once_keys_are_asked_for() -> None:
    pod = one(made_by(TEMPLATE, WITH_KEY), "Pod")["spec"]
    (container,) = pod["containers"]
    file = container["args"][container["args"].index("--key-file") + 1]
    mount = next(mount for mount in container["volumeMounts"] if mount["name"] == "key")
    volume = next(volume["secret"] for volume in pod["volumes"] if volume["name"] == "key")
    assert volume == {"secretName": "tester", "items": [{"key": "api-key", "path": "key"}]}
    assert file == f"{mount['mountPath']}/key"


def test_its_arguments_are_options_of_the_command() -> None:
    kubevoice = get_command(app)
    assert isinstance(kubevoice, TyperGroup)
    options = {name for parameter in kubevoice.commands["check"].params for name in parameter.opts}
    assert {word for word in arguments(WITH_KEY) if word.startswith("--")} <= options


def test_during_incremental_upgrades_it_asks_the_active_cluster() -> None:
    upgrade = {"type": "NewClusterWithIncrementalUpgrade", "gatewayClassName": "istio"}
    words = arguments({"upgrade": upgrade, "exposure": {"allowUnauthenticated": True}})
    assert "http://voices-kubevoice-serve-svc:8000" in words


def test_it_has_neither_the_volume_nor_a_token() -> None:
    spec = one(made_by(TEMPLATE), "Pod")["spec"]
    assert [volume["name"] for volume in spec["volumes"]] == ["tmp"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
