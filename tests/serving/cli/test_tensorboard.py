"""TensorBoard itself, over event files as training writes them, asked over HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from typer.testing import CliRunner

from serving.audio.wav import wav_bytes
from serving.cli import app
from serving.store.volume import Volume

START_S = 60.0
TAG = "train_loss"


def write(data: Path, tenant: str, run: str, losses: dict[int, float], sample: bytes | None = None) -> None:
    """What one attempt of a run leaves: an event file of its own with the loss of each step, and a spoken sample."""
    writer = EventFileWriter(str(Volume(data).training_run(tenant, run) / "tensorboard"))
    for step, loss in losses.items():
        writer.add_event(Event(wall_time=1e9 + step, step=step, summary=Summary(value=[value(TAG, simple_value=loss)])))
    if sample:
        audio = Summary.Audio(encoded_audio_string=sample, content_type="audio/wav", sample_rate=24000)
        writer.add_event(Event(wall_time=1e9, step=1, summary=Summary(value=[value("sample", audio=audio)])))
    writer.close()


def value(tag: str, **kind: Any) -> Any:
    return Summary.Value(tag=tag, **kind)


@contextmanager
def board(data: Path, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    """``kubevoice tensorboard`` on a free port: its address and process, which SIGTERM ends in good order."""
    command = [sys.executable, "-m", "serving.cli", "tensorboard", "--port", "0", "--reload", "1", "--data", str(data)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KUBEVOICE_")}
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True, env=clean) as process:
        try:
            assert process.stdout
            folder, _, address = process.stdout.readline().strip().partition(": ")
            assert folder == str(data / "training")
            yield address, psutil.Process(process.pid)
            process.send_signal(signal.SIGTERM)
            assert process.wait(START_S) == 0
        finally:
            process.kill()


def ask(address: str, path: str) -> Any:
    with urllib.request.urlopen(f"{address}data/{path}", timeout=START_S) as answer:
        return json.load(answer)


def runs(address: str, wanted: int) -> list[str]:
    """The names of the runs, once there are ``wanted``."""
    deadline = time.monotonic() + START_S
    while len(found := ask(address, "runs")) < wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return sorted(found)


def test_every_run_is_shown_with_its_curves_and_samples_and_a_new_one_without_a_restart(tmp_path: Path) -> None:
    wav = wav_bytes(np.zeros(2400, np.float32), 24000)
    write(tmp_path, "acme", "anna", {1: 3.0, 2: 2.5, 3: 2.4}, wav)
    write(tmp_path, "acme", "anna", {3: 2.25, 4: 2.0})  # stopped after step 3, went on from a checkpoint of step 2
    with board(tmp_path) as (address, process):
        assert runs(address, 1) == ["acme/anna/tensorboard"]
        where = f"run=acme%2Fanna%2Ftensorboard&tag={TAG}"
        curve = [(step, loss) for _, step, loss in ask(address, f"plugin/scalars/scalars?{where}")]
        assert curve == [(1, 3.0), (2, 2.5), (3, 2.25), (4, 2.0)]
        assert ask(address, "plugin/audio/tags")["acme/anna/tensorboard"]["sample"]["samples"] == 1

        write(tmp_path, "beta", "ben", {1: 5.0})
        assert runs(address, 2) == ["acme/anna/tensorboard", "beta/ben/tensorboard"]

        family = [process, *process.children(recursive=True)]
        links = [link for one in family for link in one.net_connections()]
        hosts = {end.ip for link in links for end in filter(None, (link.laddr, link.raddr))}
        assert hosts <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, "it talks to itself only"
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family)


def test_it_needs_no_right_to_write_and_no_run_to_begin_with(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with board(data) as (address, _):
        assert ask(address, "runs") == []
    assert not data.exists()


def test_a_reader_that_died_shows_where_the_liveness_probe_asks(tmp_path: Path) -> None:
    with board(tmp_path) as (address, process):
        (reader,) = process.children()
        reader.kill()
        while reader.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        with pytest.raises(urllib.error.HTTPError, match="500") as refused:
            ask(address, "runs")
        refused.value.close()


def test_an_address_that_cannot_be_listened_on_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, ["tensorboard", "--port", port, "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert f"127.0.0.1:{port}" in result.stderr
    result = CliRunner().invoke(app, ["tensorboard", "--port", "70000", "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert "70000" in result.stderr
