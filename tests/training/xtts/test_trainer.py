"""Whole runs of the tiny model, in this process: what they leave, and that being interrupted changes nothing."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from serving.store.training_files import read_run, read_status
from tests.factories.training_run import (
    REVISION,
    assert_equal,
    make_run,
    newest,
    run_here,
    start,
    told_to_stop_at,
    write_settings,
)
from tests.training.xtts.whole_runs import metrics, wait_until
from training.exits import BAD_CONFIGURATION, STOPPED
from training.xtts.checkpoints import WEIGHTS, Checkpoints

pytestmark = pytest.mark.xdist_group("training runs")
LOSSES = ("step", "epoch", "train_loss", "text_loss", "mel_loss", "learning_rate", "grad_norm")


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run without the sample, stopped on the way, the newest of its checkpoints torn in between."""
    directory = make_run(tmp_path_factory.mktemp("interrupted"))
    with told_to_stop_at(1):
        assert run_here(directory) == STOPPED
    with told_to_stop_at(3):
        assert run_here(directory) == STOPPED
    torn = Checkpoints(directory).directory / "step-00000003" / WEIGHTS
    os.truncate(torn, torn.stat().st_size // 2)
    with told_to_stop_at(4):  # the last: all is trained, and the export is left to another start
        assert run_here(directory) == STOPPED
    return directory


@contextmanager
def no_file_larger_than(path: Path) -> Iterator[None]:
    """Writes that go on beyond the size of ``path`` fail, as those to a full volume do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def tensorboard(directory: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory / "tensorboard"))
    events.Reload()
    return events


def test_a_run_ends_with_an_export_and_says_so(finished: Path) -> None:
    status = read_status(finished)
    assert status is not None
    assert (status.state, status.epoch, status.step, status.steps) == ("succeeded", 2, 4, 4)
    assert status.export == "narrator-4"
    assert (finished / "export" / "narrator-4" / "manifest.json").is_file()
    assert not (finished / "run.lock").exists()


def test_the_model_that_was_current_is_written_down(finished: Path) -> None:
    assert read_run(finished).revision == REVISION


def test_the_loss_falls_and_compares_with_the_validation_loss(finished: Path) -> None:
    rows = json.loads((finished / "evaluation.json").read_text())
    assert [row["step"] for row in rows] == [0, 2, 4]
    assert rows[2]["val_loss"] < rows[1]["val_loss"] < rows[0]["val_loss"]
    first = metrics(finished)[0]["train_loss"]
    assert first == pytest.approx(rows[0]["val_loss"], rel=0.1)


def test_a_run_that_was_stopped_twice_and_lost_a_checkpoint_equals_one_that_never_stopped(
    finished: Path, interrupted: Path
) -> None:
    assert_equal(newest(interrupted), newest(finished))
    names = [path.name for path in (interrupted / "checkpoints").iterdir()]
    assert sorted(names) == ["step-00000002", "step-00000003.bad", "step-00000004"]


def test_each_step_is_in_the_metrics_once_however_often_it_was_taken(finished: Path, interrupted: Path) -> None:
    ours, theirs = metrics(interrupted), metrics(finished)
    assert [row["step"] for row in ours] == [1, 2, 3, 4]
    assert [[row[name] for name in LOSSES] for row in ours] == [[row[name] for name in LOSSES] for row in theirs]


def test_tensorboard_shows_each_step_once_however_often_it_was_taken(interrupted: Path) -> None:
    events = tensorboard(interrupted)
    for curve in ("train_loss", "learning_rate", "grad_norm", "clips_per_second"):
        assert [event.step for event in events.Scalars(curve)] == [1, 2, 3, 4], curve
    assert [event.value for event in events.Scalars("train_loss")] == pytest.approx(
        [row["train_loss"] for row in metrics(interrupted)]
    )
    assert [event.step for event in events.Scalars("val_loss")] == [0, 2]


def test_tensorboard_plays_the_samples_at_their_rate_and_shows_their_text(finished: Path) -> None:
    events = tensorboard(finished)
    (name,) = events.Tags()["audio"]
    assert name.startswith("samples/clip_")
    audio = events.Audio(name)
    assert [(event.step, event.sample_rate) for event in audio] == [(0, 24000.0), (2, 24000.0), (4, 24000.0)]
    assert [event.step for event in events.Tensors(f"{name}/text_summary")] == [0, 2, 4]


def test_a_finished_run_is_left_as_it_is(finished: Path) -> None:
    paths = [path for folder in ("checkpoints", "export", "samples") for path in (finished / folder).rglob("*")]
    before = {path: path.stat().st_mtime_ns for path in paths}
    lines = metrics(finished)
    assert run_here(finished) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert metrics(finished) == lines
    status = read_status(finished)
    assert status is not None
    assert (status.state, status.export) == ("succeeded", "narrator-4")


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_checkpoint_without_waiting_for_the_dead(
    finished: Path, tmp_path: Path
) -> None:
    directory = make_run(tmp_path)
    process = start(directory, "--nproc", "1")
    try:
        wait_until(lambda: (directory / "metrics.jsonl").exists() and len(metrics(directory)) >= 2)
    finally:
        process.kill()
        process.communicate()
    assert (directory / "run.lock").exists()
    with told_to_stop_at(4):
        assert run_here(directory) == STOPPED
    assert_equal(newest(directory), newest(finished))
    assert [row["step"] for row in metrics(directory)] == [1, 2, 3, 4]


def test_adapters_alone_are_saved_and_go_on_as_they_were(tmp_path: Path) -> None:
    once, twice = make_run(tmp_path / "once", method="lora"), make_run(tmp_path / "twice", method="lora")
    with told_to_stop_at(3):
        assert run_here(once) == STOPPED
    for step in (1, 3):
        with told_to_stop_at(step):
            assert run_here(twice) == STOPPED
    assert_equal(newest(twice), newest(once))
    assert all("lora_" in name for name in newest(once).weights)
    assert any(tensor.any() for name, tensor in newest(once).weights.items() if "lora_B" in name), "it has learnt"


@pytest.mark.slow
def test_a_run_of_adapters_is_exported(tmp_path: Path) -> None:
    directory = make_run(tmp_path, method="lora", learning_rate=1e-2)
    assert run_here(directory) == 0
    rows = json.loads((directory / "evaluation.json").read_text())
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    assert (directory / "export" / "narrator-4" / "model.pth").is_file()


@pytest.mark.slow
def test_a_run_whose_loss_does_not_fall_ends_early_and_exports_its_best(tmp_path: Path) -> None:
    directory = make_run(tmp_path, epochs=9, learning_rate=1e-12, early_stop_epochs=2)
    assert run_here(directory) == 0
    rows = json.loads((directory / "evaluation.json").read_text())
    best = min(rows[1:], key=lambda row: row["val_loss"])
    status = read_status(directory)
    assert status is not None
    assert (status.state, status.export) == ("succeeded", f"narrator-{best['step']}")
    assert 2 <= status.epoch < 9
    assert best["step"] in Checkpoints(directory).steps()
    assert run_here(directory) == 0
    assert json.loads((directory / "evaluation.json").read_text()) == rows


def test_a_full_volume_ends_a_run_with_a_sentence_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    with told_to_stop_at(1):
        assert run_here(directory) == STOPPED
    before = newest(directory)
    with no_file_larger_than(before.path / WEIGHTS):
        assert run_here(directory) == 1
    status = read_status(directory)
    assert status is not None
    assert status.state == "failed"
    assert str(directory / "checkpoints") in (status.error or "")
    assert "File too large" in (status.error or "")
    assert "free space" in (status.error or "")
    assert [path.name for path in (directory / "checkpoints").iterdir()] == ["step-00000001"]
    assert_equal(newest(directory), before)


def test_the_environment_counts_on_resume_too(tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    with told_to_stop_at(1):
        assert run_here(directory, NUM_EPOCHS="1", MAX_TRAIN_SAMPLES="3") == STOPPED
    status = read_status(directory)
    assert status is not None
    assert (status.state, status.epochs, status.steps) == ("stopped", 1, 1)
    assert read_run(directory).settings.epochs == 2, "run.json says what was asked for"
    with told_to_stop_at(4):
        assert run_here(directory, NUM_EPOCHS="3", LOG_EVERY_N_STEPS="100") == STOPPED
    # One epoch of 3 clips is complete; two of all 8 clips remain, logged at their ends.
    assert [(row["step"], row["steps"]) for row in metrics(directory)] == [(1, 1), (3, 5)]


def test_a_setting_that_makes_other_batches_begins_the_epoch_again(tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    with told_to_stop_at(1):
        assert run_here(directory) == STOPPED
    write_settings(directory, batch_size=8)
    with told_to_stop_at(2):
        assert run_here(directory, NUM_EPOCHS="5") == STOPPED
    position = newest(directory).facts.position
    assert (position.step, position.epoch, position.batches) == (2, 1, 0), "all 8 clips are one batch"


def test_a_dataset_that_has_changed_is_refused_by_name(tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    with told_to_stop_at(1):
        assert run_here(directory) == STOPPED
    path = tmp_path / "datasets" / "acme" / "voice" / "metadata.csv"
    header, first, *others = path.read_text().splitlines()
    path.write_text("\n".join([header, *others, ""]))
    assert run_here(directory) == BAD_CONFIGURATION
    status = read_status(directory)
    assert status is not None
    assert status.state == "failed"
    assert f"clip {first.split('|')[0].split('/')[1].removesuffix('.wav')} removed" in (status.error or "")
