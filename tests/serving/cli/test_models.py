"""Models from the command line, against a hub on 127.0.0.1."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.cli import app, models
from serving.errors import ModelFilesError
from serving.store.models import ModelStore
from serving.store.shared_parts import dvae_file
from serving.store.volume import Volume
from tests.serving.store.hub_server import COMMIT, FILES, Hub, running
from tests.serving.store.test_hub_shared import a_hub


def environment(tmp_path: Path, hub: Hub, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "COQUI_TOS_AGREED"}
    return {**kept, "KUBEVOICE_DATA": str(tmp_path), "HF_ENDPOINT": hub.endpoint, "NO_PROXY": "127.0.0.1", **more}


def pull(tmp_path: Path, hub: Hub, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.cli", "models", "pull", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(tmp_path, hub, **more),
        timeout=150,
        check=False,
    )


def on_a_terminal(tmp_path: Path, hub: Hub, answer: str) -> tuple[int, str]:
    """Run a pull on a pseudo-terminal, type ``answer``; returns the exit code and what the terminal showed."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "serving.cli", "models", "pull"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment(tmp_path, hub, TERM="xterm", COLUMNS="100"),
    )
    os.close(terminal)
    os.write(controller, answer.encode())
    shown = bytearray()
    while True:
        try:
            shown += os.read(controller, 65536)
        except OSError:  # Linux: the other end is closed
            break
    os.close(controller)
    return process.wait(120), shown.decode(errors="replace")


def test_a_pull_shows_the_licence_and_plain_progress_and_the_model_is_listed_as_current(tmp_path: Path) -> None:
    with running(Hub()) as hub:
        first = pull(tmp_path, hub, "--accept-licence")
        again = pull(tmp_path, hub, "--accept-licence")

    assert first.returncode == 0, first.stderr
    assert first.stdout == f"xtts/xtts_v2@{COMMIT[:12]} is ready: {tmp_path}/models/xtts/xtts_v2/{COMMIT[:12]}\n"
    assert "Coqui Public Model License" in first.stderr
    assert "model.pth: 100 % of 1.0 MB" in first.stderr
    assert "\x1b" not in first.stderr
    assert "is there already and intact" in again.stdout

    runner = CliRunner(env={"KUBEVOICE_DATA": str(tmp_path)})
    (model,) = json.loads(runner.invoke(app, ["models", "list", "--json"]).stdout)
    assert (model["kind"], model["name"], model["revision"], model["current"]) == ("xtts", "xtts_v2", COMMIT[:12], True)
    assert model["bytes"] >= sum(map(len, FILES.values()))
    assert runner.invoke(app, ["models", "list"]).stdout.endswith("\tcurrent\n")


def test_without_a_terminal_the_licence_has_to_be_accepted_by_option(tmp_path: Path) -> None:
    with running(Hub()) as hub:
        result = pull(tmp_path, hub)
    assert result.returncode == 2
    assert "add --accept-licence" in result.stderr
    assert hub.requests == []


def test_coquis_own_variable_accepts_the_licence(tmp_path: Path) -> None:
    with running(Hub()) as hub:
        assert pull(tmp_path, hub, COQUI_TOS_AGREED="1").returncode == 0


def test_on_a_terminal_the_licence_is_a_question_and_no_means_no(tmp_path: Path) -> None:
    with running(Hub()) as hub:
        code, shown = on_a_terminal(tmp_path, hub, "n\n")
    assert code == 1
    assert "Do you accept it?" in shown
    assert hub.requests == []


def test_on_a_terminal_a_yes_starts_the_download_with_bars(tmp_path: Path) -> None:
    with running(Hub()) as hub:
        code, shown = on_a_terminal(tmp_path, hub, "y\n")
    assert code == 0, shown
    assert "\x1b[" in shown
    assert "model.pth" in shown
    assert "is ready" in shown


def test_a_hub_that_is_not_there_is_exit_code_1_with_the_way_to_do_without(tmp_path: Path) -> None:
    with running(Hub()) as hub:
        pass
    result = pull(tmp_path, hub, "--accept-licence", "--name", "mine")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert f"{tmp_path}/models/xtts/mine/<revision>/" in result.stderr


def test_an_expected_digest_that_differs_names_the_file_and_both_digests(tmp_path: Path) -> None:
    expected, found = "0" * 64, hashlib.sha256(FILES["config.json"]).hexdigest()
    with running(Hub()) as hub:
        result = pull(tmp_path, hub, "--accept-licence", "--sha256", f"config.json={expected}")
        right = pull(
            tmp_path, hub, "--accept-licence", "--sha256", f"config.json={found}", "--sha256", _of("model.pth")
        )
    assert result.returncode == 1
    message = result.stderr.splitlines()[-1]
    assert "config.json from the hub" in message
    assert f"its sha256 is {found}, expected was {expected}" in message
    assert right.returncode == 0, right.stderr


def _of(name: str) -> str:
    return f"{name}={hashlib.sha256(FILES[name]).hexdigest()}"


@pytest.mark.parametrize("digest", ["model.pth", "model.pth=12", "other.bin=" + "0" * 64])
def test_a_digest_that_cannot_be_meant_is_exit_code_2_before_anything_is_asked(tmp_path: Path, digest: str) -> None:
    with running(Hub()) as hub:
        result = pull(tmp_path, hub, "--accept-licence", "--sha256", digest)
    assert result.returncode == 2
    assert digest.partition("=")[0] in result.stderr.splitlines()[-1]
    assert hub.requests == []


def wait(tmp_path: Path, timeout: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "serving.cli", "models", "wait", "--timeout", timeout],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "KUBEVOICE_DATA": str(tmp_path), "KUBEVOICE_XTTS__MODEL": "mine"},
    )


def test_waiting_ends_when_the_weights_are_published(tmp_path: Path) -> None:
    with wait(tmp_path, "60") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        with ModelStore(Volume(tmp_path)).publish("xtts", "mine", "r1", {}) as directory:
            for name, data in FILES.items():
                (directory / name).write_bytes(data)
        rest, errors = process.communicate(timeout=150)
    assert first == f"waiting for the weights of xtts/mine in {tmp_path}, for at most 60 s\n"
    assert (process.returncode, rest, errors) == (0, "xtts/mine is ready\n", "")


def test_waiting_ends_in_time_with_the_way_to_get_the_weights(tmp_path: Path) -> None:
    with wait(tmp_path, "0.1") as process:
        _, errors = process.communicate(timeout=150)
    assert process.returncode == 1
    assert errors == (
        "error: the weights of xtts/mine are not there after 0.1 s: there are none yet; run: kubevoice models pull "
        "--name mine --accept-licence\n"
    )


def test_whoever_waits_is_reminded_of_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models, "REMINDER_S", 0.0)
    monkeypatch.setattr(models, "POLL_S", 0.01)
    with ModelStore(Volume(tmp_path)).publish("xtts", "xtts_v2", "r1", {}) as directory:
        for name, data in FILES.items():
            (directory / name).write_bytes(data)
    torn = tmp_path / "models/xtts/xtts_v2/r1/model.pth"
    torn.write_bytes(b"half")
    with pytest.raises(ModelFilesError, match="not there after"):
        models.wait(timeout=0.1, data=tmp_path)
    assert f"cannot use {torn}: it has 4 bytes where the manifest says" in capsys.readouterr().out.splitlines()[1]


@pytest.mark.parametrize("option", [("--repository", "no/such"), ("--revision", "v9"), ("--name", "../x")])
def test_a_wrong_option_is_exit_code_2(tmp_path: Path, option: tuple[str, str]) -> None:
    with running(Hub()) as hub:
        result = pull(tmp_path, hub, "--accept-licence", *option)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert not list((tmp_path / "models").glob("*/*"))


def test_what_conversion_needs_is_pulled_without_a_question(tmp_path: Path) -> None:
    with running(a_hub()) as hub:
        result = pull(tmp_path, hub, "rvc-base")
        again = pull(tmp_path, hub, "rvc-base")
    assert result.returncode == 0, result.stderr
    first, second, _ = result.stdout.splitlines()
    shared = tmp_path / "models" / "shared"
    assert first == f"content encoder of lengyue233/content-vec-best (MIT) is ready: {shared}/contentvec"
    assert second.endswith(f"is ready: {shared}")
    assert (shared / "rmvpe.pt").is_file()
    assert again.stdout.count("is there already and intact") == 2


def test_what_training_needs_is_pulled_once_the_licence_of_the_weights_is_accepted(tmp_path: Path) -> None:
    place = tmp_path / "models" / "shared" / "xtts_dvae"
    with running(a_hub()) as hub:
        refused = pull(tmp_path, hub, "xtts-training")
        assert (refused.returncode, hub.requests) == (2, [])
        accepted = pull(tmp_path, hub, "xtts-training", "--accept-licence")
    assert "add --accept-licence" in refused.stderr
    assert "Coqui Public Model License" in accepted.stderr
    assert accepted.stdout.startswith("DVAE of XTTS of coqui/XTTS-v2 (Coqui Public Model License")
    assert accepted.stdout.rstrip().endswith(f"is ready: {place}")
    assert dvae_file(Volume(tmp_path)) == place / "dvae.pth"


def test_an_unknown_kind_of_weights_is_exit_code_2(tmp_path: Path) -> None:
    with running(Hub()) as hub:
        assert pull(tmp_path, hub, "tortoise").returncode == 2
