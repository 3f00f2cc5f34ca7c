"""Checkpoints that are torn, rotten, of another version, or for which there is no room."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from serving.errors import InvalidRequest, ModelFilesError, StorageError
from serving.store.training_files import TrainingSettings
from training.xtts.checkpoints import OPTIMIZER, WEIGHTS, Checkpoints, Facts
from training.xtts.position import LossSums, Position
from training.xtts.tensors import read_tensors


def facts(step: int) -> Facts:
    window = LossSums(text_sum=0.1, text_tokens=3, mel_sum=1 / 3, mel_tokens=7)
    position = Position(epoch=1, batches=2, step=step, window=window, skipped=1)
    return Facts(position=position, settings=TrainingSettings(), data="d", plan="p", versions={"torch": "2"})


def tensors(step: int) -> dict[str, torch.Tensor]:
    return {"a": torch.full((300, 7), float(step)), "b": torch.tensor(step), "c.bf16": torch.randn(5).bfloat16()}


def filled(directory: Path, *steps: int) -> Checkpoints:
    checkpoints = Checkpoints(directory)
    for step in steps:
        checkpoints.save(facts(step), tensors(step), {"0/exp_avg": torch.full((4,), 0.5 * step)})
    return checkpoints


def names(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.directory.iterdir())


def test_the_newest_is_read_as_it_was_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = tensors(20)
    checkpoints = filled(tmp_path, 9)
    checkpoints.save(facts(20), expected, {"0/step": torch.tensor(3.0)})
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.facts == facts(20)
    assert all(torch.equal(newest.weights[name], tensor) for name, tensor in expected.items())
    assert newest.optimizer == {"0/step": torch.tensor(3.0)}


def test_a_run_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path).newest() is None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", [WEIGHTS, OPTIMIZER, "manifest.json"])
@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_a_damaged_newest_is_set_aside_and_the_one_before_is_taken(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    checkpoints = filled(tmp_path, 10, 20)
    damage(checkpoints.directory / "step-00000020" / name)
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.facts.position.step == 10
    assert names(checkpoints) == ["step-00000010", "step-00000020.bad"]


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_anew_unasked(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    checkpoints = filled(tmp_path, 10, 20)
    for step in (10, 20):
        damage(checkpoints.directory / f"step-000000{step}" / WEIGHTS)
    for _ in range(2):
        with pytest.raises(ModelFilesError, match=r"every checkpoint in .* restore one, delete that directory"):
            checkpoints.newest()
        assert names(checkpoints) == ["step-00000010", "step-00000020"]


def unread(path: Path) -> None:
    """The one error of a volume that root meets, too: ELOOP."""
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize("name", [WEIGHTS, OPTIMIZER, "manifest.json"])
def test_what_the_volume_does_not_read_is_not_damaged(tmp_path: Path, name: str) -> None:
    checkpoints = filled(tmp_path, 10, 20, 30)
    cut(checkpoints.directory / "step-00000030" / WEIGHTS)
    unread(checkpoints.directory / "step-00000020" / name)
    with pytest.raises(StorageError, match=r"cannot read .*step-00000020: Too many levels .*; check the volume"):
        checkpoints.newest()
    assert names(checkpoints) == ["step-00000010", "step-00000020", "step-00000030"]


@pytest.mark.parametrize("name", [WEIGHTS, OPTIMIZER])
def test_nor_is_what_it_no_longer_reads_once_its_hash_was_right(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> dict[str, torch.Tensor]:
        if path.name == name:
            cut(path)
        return read_tensors(path)

    checkpoints = filled(tmp_path, 10, 20)
    monkeypatch.setattr("training.xtts.checkpoints.read_tensors", fails)
    with pytest.raises(StorageError, match="cannot read"):
        checkpoints.newest()
    assert names(checkpoints) == ["step-00000010", "step-00000020"]


def test_a_folder_that_the_volume_does_not_read_is_not_without_checkpoints(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.directory.symlink_to(checkpoints.directory.name)
    with pytest.raises(StorageError, match="cannot read"):
        checkpoints.newest()


def test_one_of_another_version_is_no_damage(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 10)
    path = checkpoints.directory / "step-00000010" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["position"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(InvalidRequest, match="another version"):
        checkpoints.newest()
    assert names(checkpoints) == ["step-00000010"]


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 10, 20, 30, 40)
    checkpoints.prune(keep=2, best=10)
    assert checkpoints.steps() == [10, 30, 40]
    checkpoints.prune(keep=1, best=40)
    assert checkpoints.steps() == [40]


def test_of_the_damaged_ones_the_newest_stays_to_be_looked_at(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 10, 20, 30)
    for step in (20, 30):
        cut(checkpoints.directory / f"step-000000{step}" / WEIGHTS)
    assert checkpoints.newest() is not None
    checkpoints.prune(keep=2, best=None)
    assert names(checkpoints) == ["step-00000010", "step-00000030.bad"]


def test_no_room_leaves_what_was_there_and_names_it(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 10)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StorageError, match=r"step-00000020: File too large; check the free space"):
            filled(tmp_path, 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(checkpoints) == ["step-00000010"]


@pytest.mark.parametrize("step", [20, 17])
def test_what_a_killed_process_was_writing_goes_whatever_step_comes_next(tmp_path: Path, step: int) -> None:
    checkpoints = filled(tmp_path, 10)
    left = checkpoints.directory / f".step-000000{step}.tmp"
    left.mkdir()
    (left / WEIGHTS).write_bytes(b"half")
    assert checkpoints.steps() == [10]
    filled(tmp_path, 20)
    assert names(checkpoints) == ["step-00000010", "step-00000020"]


def test_who_lost_the_run_leaves_nothing_new(tmp_path: Path) -> None:
    def lost() -> None:
        raise ModelFilesError("lost")

    checkpoints = filled(tmp_path, 10)
    with pytest.raises(ModelFilesError):
        checkpoints.save(facts(20), tensors(20), {}, lost)
    assert names(checkpoints) == ["step-00000010"]
