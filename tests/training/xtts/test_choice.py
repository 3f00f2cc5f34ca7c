"""Which clips a run trains on, and that it notices when they are no longer the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving.errors import InvalidRequest, ModelFilesError
from serving.store.training_files import TrainingSettings
from training.dataset.metadata import Clip, Split
from training.xtts.batches import Length
from training.xtts.choice import DATA_FILE, choose, plan_digest, settle


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    return [make(tmp_path, f"clip_{number}", "val" if number > 7 else "train") for number in range(10)]


def make(folder: Path, name: str, split: Split = "train", text: str = "Hello.") -> Clip:
    path = folder / f"{name}.wav"
    path.write_bytes(name.encode())
    return Clip(name, path, text, "ada", "en", split, 1.0)


def ids(clips: list[Clip]) -> list[str]:
    return [clip.id for clip in clips]


def test_all_clips_are_chosen_in_an_order_that_the_file_does_not_change(clips: list[Clip]) -> None:
    choice = choose(clips, None)
    assert sorted(ids(choice.train)) == [f"clip_{number}" for number in range(8)]
    assert sorted(ids(choice.val)) == ["clip_8", "clip_9"]
    assert choose(clips[::-1], None) == choice


def test_a_larger_number_of_samples_only_adds_clips(clips: list[Clip]) -> None:
    few, more = choose(clips, 3), choose(clips, 5)
    assert len(few.train) == 3
    assert ids(more.train)[:3] == ids(few.train)
    assert few.val == more.val == choose(clips, None).val
    assert len(choose(clips, 100).train) == 8


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_dataset_without_one_of_the_splits_is_refused(clips: list[Clip], split: str) -> None:
    with pytest.raises(InvalidRequest, match=f"no clip of the split {split}"):
        choose([clip for clip in clips if clip.split != split], None)


def test_an_unchanged_dataset_has_the_same_digest_wherever_it_lies(tmp_path: Path, clips: list[Clip]) -> None:
    first = settle(tmp_path, clips)
    other = tmp_path / "copy"
    other.mkdir()
    copied = [make(other, clip.id, clip.split) for clip in clips[::-1]]
    assert settle(tmp_path, copied) == first


def test_what_has_changed_is_named(tmp_path: Path, clips: list[Clip]) -> None:
    settle(tmp_path, clips)
    clips[3].path.write_bytes(b"denoised")
    now = [*clips[1:4], make(tmp_path, "clip_4", text="Goodbye."), *clips[5:], make(tmp_path, "clip_10")]
    with pytest.raises(InvalidRequest) as caught:
        settle(tmp_path, now)
    assert "clip clip_10 added; clip clip_0 removed; clips clip_3, clip_4 changed; start a new run" in str(caught.value)


def test_of_many_changes_a_few_are_named(tmp_path: Path, clips: list[Clip]) -> None:
    settle(tmp_path, clips)
    with pytest.raises(InvalidRequest, match="clips clip_0, clip_1, clip_2 and 3 more removed"):
        settle(tmp_path, clips[6:])


def test_a_torn_list_is_no_new_dataset(tmp_path: Path, clips: list[Clip]) -> None:
    settle(tmp_path, clips)
    (tmp_path / DATA_FILE).write_bytes((tmp_path / DATA_FILE).read_bytes()[:50])
    with pytest.raises(ModelFilesError, match="is damaged"):
        settle(tmp_path, clips)


def features(**changed: Any) -> Any:
    """Two clips, the second with what has ``changed``; of features a plan knows the lengths alone."""
    second: dict[str, Any] = {"id": "b", "text": 20, "codes": 50, "samples": 51200}
    return SimpleNamespace(lengths=(Length("a", 10, 40, 40960), Length(**{**second, **changed})))


@pytest.mark.parametrize("changed", [{"id": "c"}, {"text": 21}, {"codes": 51}])
def test_other_clips_or_lengths_are_another_plan(changed: dict[str, Any]) -> None:
    settings = TrainingSettings()
    assert plan_digest(features(), settings) == plan_digest(features(), settings)
    assert plan_digest(features(**changed), settings) != plan_digest(features(), settings)


@pytest.mark.parametrize("name", ["batch_size", "seed"])
def test_another_size_or_seed_is_another_plan_and_a_longer_run_is_not(name: str) -> None:
    settings = TrainingSettings()
    assert plan_digest(features(), settings.model_copy(update={name: 7})) != plan_digest(features(), settings)
    assert plan_digest(features(), settings.model_copy(update={"epochs": 7})) == plan_digest(features(), settings)
