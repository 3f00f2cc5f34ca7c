"""From recordings to a served voice, and back: by the commands that a Job runs, on a real server's volume."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from serving.store.dataset_files import read_dataset_status
from serving.store.training_files import RunSpec, TrainingSettings, read_status, write_run
from serving.store.volume import Volume
from tests.e2e.servers import Server
from tests.e2e.test_promotion import command, pcm, same, speak, wait_until_serving
from tests.factories.dvae import cached_dvae
from tests.factories.recordings import CONSENT, make_raw
from tests.factories.training_run import QUICK, assert_equal, newest, start
from training.dataset.metadata import read_metadata
from training.exits import STOPPED
from training.xtts.checkpoints import WEIGHTS, Checkpoints

pytestmark = [pytest.mark.xdist_group("xtts_server"), pytest.mark.timeout(900)]

VOICE = "anna"
PATIENCE_S = 300.0
SETTINGS = {**QUICK, "epochs": 3, "batch_size": 3, "samples": 1, "save_every_minutes": 0.0001}


def prepare(volume: Volume) -> None:
    dataset = volume.dataset("default", VOICE)
    make_raw(dataset)
    options = ["--language", "en", "--speaker", VOICE, "--consent", CONSENT]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBEVOICE_")}
    done = subprocess.run(
        [sys.executable, "-m", "training.dataset", str(dataset), *options],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    status = read_dataset_status(dataset)
    assert status is not None
    assert status.state == "ready"


def make_run(volume: Volume, name: str) -> Path:
    directory = volume.training_run("default", name)
    directory.mkdir(parents=True)
    settings = TrainingSettings.model_validate(SETTINGS)
    write_run(directory, RunSpec(tenant="default", name=name, dataset=VOICE, settings=settings))
    return directory


def finish(directory: Path) -> None:
    process = start(directory)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    status = read_status(directory)
    assert status is not None
    assert status.state == "succeeded"


def stop_when(directory: Path, condition: Callable[[], bool]) -> None:
    """Start the run, tell it to stop as soon as ``condition`` holds, and see that it was told."""
    process = start(directory)
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == STOPPED, said


def step_of(directory: Path) -> int:
    status = read_status(directory)
    return status.step if status and status.state == "training" else 0


def test_recordings_become_a_voice_that_a_server_speaks_with_and_gives_up_again(xtts_server: Server) -> None:
    volume = Volume(xtts_server.data)
    shared = xtts_server.data / "models" / "shared" / "xtts_dvae"
    shared.mkdir(parents=True, exist_ok=True)
    (shared / "dvae.pth").symlink_to(cached_dvae())

    prepare(volume)
    clips = read_metadata(volume.dataset("default", VOICE))
    assert {clip.split for clip in clips} == {"train", "val"}
    steps = 3 * -(-sum(clip.split == "train" for clip in clips) // 3)

    whole, broken = make_run(volume, "anna-whole"), make_run(volume, "anna-1")
    finish(whole)
    stop_when(broken, lambda: step_of(broken) >= 1)
    first = Checkpoints(broken).steps()[-1]
    stop_when(broken, lambda: step_of(broken) > first)
    torn = Checkpoints(broken).steps()[-1]
    assert first < torn < steps
    weights = Checkpoints(broken).directory / f"step-{torn:08}" / WEIGHTS
    os.truncate(weights, weights.stat().st_size // 2)
    finish(broken)
    assert_equal(newest(broken), newest(whole))

    rows = json.loads((broken / "evaluation.json").read_text())
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    export = broken / "export" / f"anna-1-{steps}"
    assert json.loads((export / "manifest.json").read_text())["verified"]

    old = pcm(speak(xtts_server))
    try:
        command(xtts_server, "promote", "--run", "default/anna-1")
        wait_until_serving(xtts_server, export.name)
        assert not same(pcm(speak(xtts_server)), old)
        ours = speak(xtts_server, voice=VOICE)
        assert ours.headers["x-kubevoice-model"] == f"xtts_v2@{export.name}"
        assert np.abs(pcm(ours)).max() > 0.01
    finally:
        command(xtts_server, "rollback")
        wait_until_serving(xtts_server, "r1")
    assert same(pcm(speak(xtts_server)), old)
    assert speak(xtts_server, voice=VOICE).status_code == 404
    shutil.rmtree(whole)
