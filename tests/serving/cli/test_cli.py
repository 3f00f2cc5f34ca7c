"""The command as a whole: help, exit codes, start-up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from serving import __version__
from serving.cli import app


def kubevoice(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=150,
        check=False,
    )


def test_the_version_is_printed() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"kubevoice {__version__}\n"


def leaf_commands() -> list[str]:
    def walk(command: object, path: str) -> list[str]:
        children = getattr(command, "commands", None)
        return (
            [path]
            if children is None
            else [leaf for name in children for leaf in walk(children[name], f"{path} {name}")]
        )

    return [path.strip() for path in walk(typer.main.get_command(app), "")]


def test_the_commands_are_those_of_the_manual() -> None:
    assert sorted(leaf_commands()) == [
        "audit", "check", "doctor", "drain-node", "keys create", "keys list", "keys revoke", "launch list",
        "launch logs", "launch run", "launch stop", "models list", "models promote", "models pull", "models rollback",
        "models wait", "reindex", "say", "serve", "settings", "tensorboard", "voices add", "voices export",
        "voices import", "voices list", "voices remove",
    ]  # fmt: skip


@pytest.mark.parametrize("command", leaf_commands())
def test_every_command_says_what_it_does_and_shows_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert f"Usage: kubevoice {command}" in result.output
    assert "Example:" in result.output
    assert f"kubevoice {command}" in result.output.split("Example:")[1]
    assert result.output.splitlines()[2].strip()[0].isupper()


def test_the_command_line_starts_without_the_slow_libraries() -> None:
    slow = "{'ray', 'torch', 'TTS', 'av', 'numpy', 'sqlalchemy', 'huggingface_hub', 'pydantic', 'fastapi'}"
    code = f"import sys, serving.cli; loaded = {slow} & set(sys.modules); sys.exit(str(loaded) if loaded else 0)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_users_mistake_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    result = kubevoice("voices", "remove", "nobody", "--yes", KUBEVOICE_DATA=str(tmp_path))
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == "error: there is no voice 'nobody'; list the voices or add one\n"


def test_a_bad_setting_is_named_with_exit_code_2(tmp_path: Path) -> None:
    result = kubevoice("voices", "list", KUBEVOICE_DATA=str(tmp_path), KUBEVOICE_XTTS__DEVIVE="cuda")
    assert result.returncode == 2
    assert result.stderr == "error: unknown setting KUBEVOICE_XTTS__DEVIVE; did you mean KUBEVOICE_XTTS__DEVICE?\n"


def test_a_volume_that_refuses_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["voices", "list", "--data", str(tmp_path / "file")])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: cannot write ")
    assert "Traceback" not in result.stderr


def test_debug_logging_shows_where_an_error_came_from(tmp_path: Path) -> None:
    environment = {"KUBEVOICE_DATA": str(tmp_path), "KUBEVOICE_LOG__LEVEL": "DEBUG"}
    result = kubevoice("voices", "remove", "nobody", "--yes", **environment)
    assert result.returncode == 2
    assert "Traceback" in result.stderr
    assert "error: there is no voice 'nobody'" in result.stderr


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> object:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("serving.settings.load_settings", broken)
    result = CliRunner().invoke(app, ["settings"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_ctrl_c_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("serving.settings.load_settings", interrupted)
    assert CliRunner().invoke(app, ["settings"]).exit_code == 130


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["say"], ["say", "hi"], ["voices", "add", "no-such-file", "--name", "x"]]
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
