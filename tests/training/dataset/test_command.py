"""``python -m training.dataset`` as a process: exit codes, signals, a full disk, progress."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from serving.files import write_atomic
from serving.store.dataset_files import (
    DatasetStatus,
    read_dataset,
    read_dataset_status,
    write_dataset,
    write_dataset_status,
)
from serving.store.volume import Volume
from tests.factories.recordings import CONSENT, a_spec, make_raw, make_volume, write_wav
from training.dataset.__main__ import app
from training.dataset.metadata import SAMPLE_RATE, read_metadata
from training.dataset.prepare import prepare
from training.exits import BAD_CONFIGURATION, STOPPED
from training.xtts.lock import LOCK_FILE, RunLock
from training.xtts.signals import SIGNALS

CREATE = ("--language", "en", "--consent", CONSENT)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """The command as a process of its own; it is gone when the test ends."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "training.dataset", *map(str, arguments)]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def command() -> Iterator[Callable[..., Result]]:
    """The command in this process, which gets its signal handlers back."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def small_files(dataset: Path) -> Iterator[None]:
    """Writes beyond 100 kB of a file fail as on a full disk; a clip has more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """acme/anna with its raw/, unprepared."""
    dataset = make_volume(tmp_path).dataset("acme", "anna")
    make_raw(dataset)
    return dataset


def add_hum(dataset: Path, seconds: float) -> None:
    """A recording that comes last, takes its time and has no speech."""
    noise = np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32)
    write_wav(dataset / "raw/wavs/zz.wav", noise * np.float32(1e-3))
    with (dataset / "raw/metadata.csv").open("a") as file:
        file.write("zz|Nothing but a hum.\n")


def wait_for_clips(dataset: Path, process: subprocess.Popen[str], number: int) -> None:
    """Until so many recordings are done."""
    while process.poll() is None and len(list(dataset.glob("clips/*/*.wav"))) < number:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()


def tree(dataset: Path) -> dict[str, bytes]:
    made = [dataset / "metadata.csv", dataset / "report.json", *sorted((dataset / "clips").rglob("*"))]
    return {path.relative_to(dataset).as_posix(): path.read_bytes() for path in made if path.is_file()}


def test_a_run_that_was_killed_is_run_again_and_ends_with_the_bytes_of_one_that_was_not(
    dataset: Path,
    start: Callable[..., subprocess.Popen[str]],
    command: Callable[..., Result],
    tmp_path: Path,
) -> None:
    add_hum(dataset, 30)
    process = start(dataset, *CREATE)
    wait_for_clips(dataset, process, 1)
    process.kill()
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in dataset.glob("clips/*/*.wav")}
    assert not (dataset / "metadata.csv").exists()
    again = command(dataset, "--every", "5")
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime_ns for path in done} == done  # none was made again
    assert not list(dataset.glob(".*"))

    lines = [json.loads(line) for line in again.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["progress"] * len(lines)
    assert (lines[-1]["done"], lines[-1]["total"]) == (11, 11)
    assert len(lines) == 3

    elsewhere = Volume(tmp_path / "elsewhere").dataset("acme", "anna")
    elsewhere.mkdir(parents=True)
    shutil.copytree(dataset / "raw", elsewhere / "raw")
    prepare(elsewhere, read_dataset(dataset), Volume(tmp_path))
    assert tree(elsewhere) == tree(dataset)


def test_told_to_stop_it_leaves_the_earlier_dataset_as_it_was_and_exits_143(
    dataset: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    prepare(dataset, a_spec(), Volume(dataset.parents[2]))
    before = tree(dataset)
    add_hum(dataset, 300)
    process = start(dataset, *CREATE)
    while process.poll() is None and not (dataset / ".preparing").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate()
    assert process.returncode == STOPPED, told
    assert {name: tree(dataset)[name] for name in before} == before
    assert len(read_metadata(dataset)) == 10
    status = read_dataset_status(dataset)
    assert status is not None
    assert status.state == "stopped"
    assert not (dataset / ".preparing").exists()


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(
    dataset: Path, command: Callable[..., Result]
) -> None:
    result = command(dataset, *CREATE)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "cannot write" in result.stderr
    assert "check the free space" in result.stderr
    assert not (dataset / ".preparing").exists()
    assert not (dataset / "metadata.csv").exists()
    status = read_dataset_status(dataset)
    assert status is not None
    assert (status.state, status.error) == ("failed", result.stderr.removeprefix("error: ").strip())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--language", "en"), "consent is missing"),
        (("--language", "en", "--consent", "  "), "consent is missing"),
        (("--consent", CONSENT), "language: Field required"),
        ((*CREATE, "--max-seconds", "60"), "max_seconds"),
        ((*CREATE, "--speaker", "a|b"), "speaker"),
        ((*CREATE, "--model", "none"), "kubevoice models pull"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_another_try_would_not_change_exits_42(
    dataset: Path, command: Callable[..., Result], options: tuple[str, ...], message: str
) -> None:
    result = command(dataset, *options)
    assert result.exit_code == BAD_CONFIGURATION
    assert message in result.stderr
    assert not (dataset / "metadata.csv").exists()
    assert not (dataset / "clips").exists()


def test_it_waits_while_another_process_has_the_dataset(
    dataset: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    with RunLock(dataset) as lock:
        lock.acquire()
        process = start(dataset)  # would end at once for want of consent
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
    process.wait()
    assert process.returncode == BAD_CONFIGURATION


def test_told_to_stop_while_it_waits_it_leaves_the_status_to_who_has_the_dataset(
    dataset: Path, command: Callable[..., Result]
) -> None:
    create = RunLock._create

    def told(lock: RunLock) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return create(lock)

    with RunLock(dataset) as lock:
        lock.acquire()
        write_dataset_status(dataset, DatasetStatus(state="preparing", done=3, total=10))
        before = read_dataset_status(dataset)
        with patch.object(RunLock, "_create", told):
            assert command(dataset, *CREATE).exit_code == STOPPED
        assert read_dataset_status(dataset) == before
        lock.confirm()


@pytest.mark.parametrize("stopped", [False, True])
def test_who_lost_the_dataset_ends_and_writes_nothing_more_to_it(
    dataset: Path, start: Callable[..., subprocess.Popen[str]], *, stopped: bool
) -> None:
    add_hum(dataset, 300)
    process = start(dataset, *CREATE)
    wait_for_clips(dataset, process, 1)
    write_atomic(dataset / LOCK_FILE, b'{"owner": "another"}')
    if stopped:
        process.terminate()
    _, told = process.communicate()
    lost = "no longer this process's" in told
    assert lost or stopped
    assert process.returncode == (1 if lost else STOPPED), told
    status = read_dataset_status(dataset)
    assert status is not None
    assert (status.state, status.error) == ("preparing", None)
    assert not (dataset / "metadata.csv").exists()


def test_a_folder_outside_a_volume_needs_the_volume_named(tmp_path: Path, command: Callable[..., Result]) -> None:
    assert "--data" in command(tmp_path, *CREATE).stderr
    assert "there is no folder" in command(tmp_path / "none", *CREATE).stderr


def test_options_go_into_the_specification_and_stay_there(dataset: Path, command: Callable[..., Result]) -> None:
    command(dataset, *CREATE, "--speaker", "Anna", "--model", "none", "--loudness", "-20")
    command(dataset, "--val-fraction", "0.2", "--max-seconds", "10")
    spec = read_dataset(dataset)
    assert (spec.tenant, spec.name, spec.speaker, spec.consent) == ("acme", "anna", "Anna", CONSENT)
    assert (spec.settings.loudness, spec.settings.val_fraction, spec.settings.max_seconds) == (-20, 0.2, 10)


def test_a_specification_of_another_place_is_refused(dataset: Path, command: Callable[..., Result]) -> None:
    write_dataset(dataset, a_spec(tenant="other"))
    result = command(dataset)
    assert result.exit_code == BAD_CONFIGURATION
    assert "tenant is 'other'" in result.stderr
