"""Where a run lies, and which base model it is pinned to."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import ConfigurationError, InvalidRequest, NotFound
from serving.store.models import ModelStore
from serving.store.training_files import RunSpec, read_run, write_run
from serving.store.volume import Volume
from training.xtts.run import open_run, pin_base


def make(data: Path, tenant: str = "acme", folder: str = "narrator", **spec: str) -> Path:
    directory = data / "training" / tenant / folder
    directory.mkdir(parents=True)
    write_run(directory, RunSpec.model_validate({"tenant": "acme", "name": "narrator", "dataset": "voice", **spec}))
    return directory


def add_model(data: Path, revision: str) -> None:
    with ModelStore(Volume(data)).publish("xtts", "xtts_v2", revision, {}) as staging:
        for name in ("config.json", "vocab.json", "model.pth"):
            (staging / name).write_text(revision)


def test_the_data_directory_is_three_above(tmp_path: Path) -> None:
    run = open_run(make(tmp_path), {"NUM_EPOCHS": "3"})
    assert run.volume.root == tmp_path.resolve()
    assert run.dataset == tmp_path.resolve() / "datasets" / "acme" / "voice"
    assert run.settings.epochs == 3
    assert run.spec.settings.epochs == 10


def test_another_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"give <data directory>/training/<tenant>/<run>"):
        open_run(tmp_path / "runs" / "acme" / "narrator", {})
    with pytest.raises(InvalidRequest, match="is no directory of a run"):
        open_run(Path("/"), {})


def test_a_run_of_another_tenant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"has the run\.json of acme/narrator"):
        open_run(make(tmp_path, tenant="evil"), {})


def test_a_missing_run_and_a_bad_variable_are_named(tmp_path: Path) -> None:
    (tmp_path / "training" / "acme" / "narrator").mkdir(parents=True)
    with pytest.raises(NotFound, match=r"run\.json"):
        open_run(tmp_path / "training" / "acme" / "narrator", {})
    with pytest.raises(ConfigurationError, match="NUM_EPOCHS='x'"):
        open_run(make(tmp_path, "acme", "other", name="other"), {"NUM_EPOCHS": "x"})


def test_a_later_promotion_does_not_change_what_a_run_starts_from(tmp_path: Path) -> None:
    directory = make(tmp_path)
    add_model(tmp_path, "one")
    assert pin_base(open_run(directory, {"NUM_EPOCHS": "3"})).revision == "one"
    add_model(tmp_path, "two")
    assert pin_base(open_run(directory, {})).revision == "one"
    assert read_run(directory).revision == "one"
    assert read_run(directory).settings.epochs == 10, "what the environment said is not kept"


def test_a_named_revision_is_taken(tmp_path: Path) -> None:
    add_model(tmp_path, "one")
    add_model(tmp_path, "two")
    assert pin_base(open_run(make(tmp_path, revision="one"), {})).revision == "one"


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no XTTS model 'xtts_v2'"):
        pin_base(open_run(make(tmp_path), {}))
    add_model(tmp_path, "one")
    with pytest.raises(NotFound, match="three"):
        pin_base(open_run(make(tmp_path, "acme", "b", name="b", revision="three"), {}))
