"""How options become settings; the server itself is tested where it lives."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.cli import app
from serving.settings import Settings


def test_options_win_over_the_environment_and_the_rest_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Settings] = []
    monkeypatch.setattr("serving.local.run", started.append)
    runner = CliRunner(
        env={"KUBEVOICE_HTTP__HOST": "127.0.0.2", "KUBEVOICE_HTTP__PORT": "1", "KUBEVOICE_ENGINE": "xtts"}
    )

    result = runner.invoke(app, ["serve", "--port", "8080", "--engine", "espeak", "--data", str(tmp_path)])

    assert result.exit_code == 0, result.output
    (settings,) = started
    assert (settings.http.host, settings.http.port) == ("127.0.0.2", 8080)
    assert (settings.engine, settings.data) == ("espeak", tmp_path)
    assert not settings.http.allow_unauthenticated


def test_an_open_server_has_to_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0", "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert "--allow-unauthenticated" in result.stderr

    started: list[Settings] = []
    monkeypatch.setattr("serving.local.run", started.append)
    CliRunner().invoke(app, ["serve", "--host", "0.0.0.0", "--allow-unauthenticated", "--data", str(tmp_path)])
    assert started[0].http.allow_unauthenticated


@pytest.mark.parametrize("option", [("--engine", "festival"), ("--port", "70000")])
def test_a_value_that_no_setting_takes_is_exit_code_2(tmp_path: Path, option: tuple[str, str]) -> None:
    result = CliRunner().invoke(app, ["serve", *option, "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert option[1] in result.stderr


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, ["serve", "--port", port, "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert f"127.0.0.1:{port}" in result.stderr
