"""Runs of several processes: they train what one does, stop together, and say why they ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from serving.files import write_atomic
from serving.store.training_files import read_status
from tests.factories.training_run import make_run, newest, run_here, start, told_to_stop_at
from tests.training.xtts.whole_runs import assert_close, metrics, wait_until
from training.exits import OUT_OF_GPU_MEMORY, STOPPED
from training.xtts.checkpoints import Checkpoints
from training.xtts.launcher import Nodes, launch
from training.xtts.lock import LOCK_FILE
from training.xtts.signals import StopFlag

pytestmark = pytest.mark.xdist_group("training runs")


@pytest.mark.slow
def test_ranks_that_are_told_to_stop_save_once_and_the_job_hears_143(finished: Path, tmp_path: Path) -> None:
    # Batches of one clip: of each, one rank has nothing at all.
    directory = make_run(tmp_path, batch_size=1, epochs=30)
    process = start(directory, "--nproc", "2")
    try:
        wait_until(lambda: (directory / "metrics.jsonl").exists() and len(metrics(directory)) >= 2)
        process.terminate()
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == STOPPED, output
    status = read_status(directory)
    assert status is not None
    assert status.state == "stopped"
    assert newest(directory).facts.position.step >= 2
    alone = make_run(tmp_path / "alone", batch_size=1, epochs=30)
    with told_to_stop_at(newest(directory).facts.position.step):
        assert run_here(alone) == STOPPED
    ours, theirs = metrics(directory), metrics(alone)
    assert [row["train_loss"] for row in ours] == pytest.approx([row["train_loss"] for row in theirs], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_first_process_of_a_container_hears_the_signal(tmp_path: Path, processes: str) -> None:
    """A process that is PID 1 gets no signal that it has no handler for."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child=KILL"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this user may not make PID namespaces")
    directory = make_run(tmp_path, epochs=200)
    command = [*unshare, sys.executable, "-m", "training.xtts", str(directory), "--nproc", processes]
    process = subprocess.Popen(command, env={**os.environ, "XTTS_DEVICE": "cpu", "OMP_NUM_THREADS": "1"})
    try:
        wait_until(lambda: (directory / "metrics.jsonl").exists() and len(metrics(directory)) >= 2)
        first = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
        os.kill(int(first), signal.SIGTERM)
        assert process.wait(120) == STOPPED
    finally:
        process.kill()
        process.wait()
    status = read_status(directory)
    assert status is not None
    assert status.state == "stopped"
    assert newest(directory).facts.position.step >= 2


@pytest.mark.slow
def test_torchrun_starts_it_too(finished: Path, tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    variables = {**os.environ, "XTTS_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "-m", "training.xtts", str(directory)], env=variables, check=True, timeout=280)
    losses = [row["train_loss"] for row in metrics(finished)]
    assert [row["train_loss"] for row in metrics(directory)] == pytest.approx(losses, rel=1e-5)


@pytest.mark.slow
def test_two_nodes_of_an_indexed_job_train_what_one_process_does(finished: Path, tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    pods = [
        start(directory, NNODES="2", NPROC_PER_NODE="1", JOB_COMPLETION_INDEX=index, RDZV_ENDPOINT=endpoint)
        for index in "01"
    ]
    outputs = [pod.communicate(timeout=280)[0] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], outputs
    losses = [row["train_loss"] for row in metrics(finished)]
    assert [row["train_loss"] for row in metrics(directory)] == pytest.approx(losses, rel=1e-5)


@pytest.mark.slow
def test_one_rank_out_of_memory_ends_all_and_the_job_hears_why(tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    code = """
import os, sys, torch
from training.xtts import command, step
original = step.Stepper.step
def out(self, *args, **kwargs):
    if os.environ["RANK"] == "1":
        raise torch.OutOfMemoryError("CUDA out of memory")
    return original(self, *args, **kwargs)
step.Stepper.step = out
sys.exit(command.main(sys.argv[1:]))
"""
    with patch.dict(os.environ, {"XTTS_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}):
        command = [sys.executable, "-c", code, str(directory)]
        assert launch(command, Nodes(2), StopFlag()) == OUT_OF_GPU_MEMORY
    status = read_status(directory)
    assert status is not None
    assert status.state == "failed"
    assert "micro_batch_size lower" in (status.error or "")


def test_no_rank_writes_to_a_run_that_another_process_has_taken_over(tmp_path: Path) -> None:
    """Rank 0 sees it and ends; the other one only loses its connection."""
    directory = make_run(tmp_path, epochs=200, save_every_minutes=0.01)
    process = start(directory, "--nproc", "2")
    try:
        wait_until(lambda: (directory / "metrics.jsonl").exists() and len(metrics(directory)) >= 2)
        write_atomic(directory / LOCK_FILE, b'{"owner": "another"}')
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 1, output
    assert "no longer this process's" in output
    assert "training failed" in output
    status = read_status(directory)
    assert status is not None
    assert (status.state in {"training", "evaluating"}, status.error) == (True, None)
    assert json.loads((directory / LOCK_FILE).read_text()) == {"owner": "another"}


def test_two_ranks_that_are_killed_go_on_as_one(finished: Path, tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    process = start(directory, "--nproc", "2")
    try:
        wait_until(lambda: (directory / "metrics.jsonl").exists() and len(metrics(directory)) >= 3)
    finally:
        process.kill()  # the launcher alone: its ranks go with it
        process.communicate()
    assert Checkpoints(directory).steps()[0] == 2
    with told_to_stop_at(4):
        assert run_here(directory) == STOPPED
    assert_close(newest(directory), newest(finished))
    losses = [row["train_loss"] for row in metrics(finished)]
    assert [row["train_loss"] for row in metrics(directory)] == pytest.approx(losses, rel=1e-5)


@pytest.mark.slow
def test_two_ranks_train_what_one_does(finished: Path, tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    process = start(directory, "--nproc", "2")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert_close(newest(directory), newest(finished))
    losses = [row["train_loss"] for row in metrics(finished)]
    assert [row["train_loss"] for row in metrics(directory)] == pytest.approx(losses, rel=1e-5)
