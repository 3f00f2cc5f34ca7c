"""Exit codes: what a Job makes of the end of a run."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from serving.errors import EngineError, StorageError
from serving.store.training_files import read_status
from tests.factories.training_run import make_run, run_here
from training.exits import BAD_CONFIGURATION, OUT_OF_GPU_MEMORY, STOPPED
from training.xtts import trainer
from training.xtts.lock import LockLost, RunLock
from training.xtts.signals import Stopped

pytestmark = pytest.mark.xdist_group("training runs")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path)


def outcome(run: Path) -> tuple[str, str | None]:
    status = read_status(run)
    assert status is not None
    return status.state, status.error


def ends_with(error: Exception) -> AbstractContextManager[object]:
    """The run ends with ``error``, in the place of its training."""
    return patch.object(trainer, "prepare", side_effect=error)


@pytest.mark.parametrize(
    ("error", "code", "state", "sentence"),
    [
        (Stopped(), STOPPED, "stopped", None),
        (StorageError("the volume is full"), 1, "failed", "the volume is full"),
        (EngineError("it does not speak"), 1, "failed", "it does not speak"),
        (RuntimeError("a bug"), 1, "failed", "RuntimeError: a bug"),
        (torch.OutOfMemoryError("CUDA out of memory"), OUT_OF_GPU_MEMORY, "failed", "micro_batch_size lower (it is 2;"),
    ],
)
def test_an_end_has_its_code_and_its_sentence(
    run: Path, error: Exception, code: int, state: str, sentence: str | None
) -> None:
    with ends_with(error):
        assert run_here(run) == code
    told, said = outcome(run)
    assert told == state
    assert said == sentence or (sentence and said and sentence in said)
    assert not (run / "run.lock").exists()


def test_who_lost_the_run_says_nothing_in_it(run: Path) -> None:
    with ends_with(LockLost("another has it")):
        assert run_here(run) == 1
    assert outcome(run) == ("preparing", None)


@pytest.mark.parametrize("error", [Stopped(), StorageError("full"), RuntimeError("a bug"), LockLost("another has it")])
@pytest.mark.parametrize("leaves", [True, False])
def test_who_lost_the_run_says_nothing_whatever_it_ends_with(run: Path, error: Exception, *, leaves: bool) -> None:
    """Another process has it, or had it and is done."""

    def taken_over(*_: object) -> None:
        lock = run / "run.lock"
        lock.unlink() if leaves else lock.write_text('{"owner": "another"}')
        raise error

    with patch.object(trainer, "prepare", taken_over):
        run_here(run)
    assert outcome(run) == ("preparing", None)


def test_a_bad_field_is_named(run: Path) -> None:
    spec = json.loads((run / "run.json").read_text())
    spec["settings"]["batch_size"] = 0
    (run / "run.json").write_text(json.dumps(spec))
    assert run_here(run) == BAD_CONFIGURATION
    state, error = outcome(run)
    assert state == "failed"
    assert "settings.batch_size" in (error or "")


@pytest.mark.parametrize(
    ("variable", "value"), [("NUM_EPOCHS", "many"), ("NNODES", "0"), ("XTTS_DEVICE", "tpu"), ("RANK", "first")]
)
def test_a_bad_variable_is_named(run: Path, variable: str, value: str) -> None:
    world = {"WORLD_SIZE": "1"} if variable == "RANK" else {}
    assert run_here(run, **world, **{variable: value}) == BAD_CONFIGURATION
    error = outcome(run)[1] or ""
    assert variable in error or "xtts.device" in error


def test_a_missing_dvae_says_where_it_comes_from(run: Path, tmp_path: Path) -> None:
    (tmp_path / "models" / "shared" / "xtts_dvae" / "dvae.pth").unlink()
    assert run_here(run) == BAD_CONFIGURATION
    assert "kubevoice models pull xtts-training" in (outcome(run)[1] or "")


def test_a_run_that_another_process_trains_is_not_told_to_have_failed(run: Path) -> None:
    with RunLock(run) as lock:
        lock.acquire()
        assert run_here(run, NUM_EPOCHS="many") == BAD_CONFIGURATION
        assert read_status(run) is None


def test_a_command_line_that_is_wrong_is_not_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_here(Path("a"), arguments=["--nproc", "two"])
    assert caught.value.code == BAD_CONFIGURATION
    assert "invalid int value: 'two'" in capsys.readouterr().err


def test_a_place_without_a_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    assert run_here(tmp_path / "nothing") == BAD_CONFIGURATION
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    yield
    assert logging.getLogger("training").propagate


def test_the_error_of_an_earlier_start_is_forgotten(run: Path) -> None:
    with ends_with(StorageError("full")):
        run_here(run)
    with ends_with(Stopped()):
        run_here(run)
    assert outcome(run) == ("stopped", None)
