"""An export of a training run becomes the revision that serves, or nothing changes."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from serving.errors import Conflict, InvalidRequest, ModelFilesError, NotFound, StorageError
from serving.store.manifest import verify_manifest, write_manifest
from serving.store.models import ModelStore
from serving.store.promotion import newest_export, promote_export
from serving.store.training_files import RunState, RunStatus, write_status
from serving.store.volume import Volume
from tests.serving.store.writers import files_below, promote_and_roll_back, run_together, start

VERIFIED = {"strict_load": "coqui-tts 0.28.0", "spoken_s": 1.9}


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    """A volume on which the released model serves."""
    volume = Volume(tmp_path)
    volume.create()
    models = ModelStore(volume)
    with models.publish("xtts", "base", "released", {}) as directory:
        fill(directory, "released")
    return models


def fill(directory: Path, text: str) -> None:
    for name in ("config.json", "vocab.json", "model.safetensors", "speakers_xtts.pth"):
        (directory / name).write_text(f"{name} of {text}")


def make_export(models: ModelStore, revision: str = "narrator-1", run: str = "narrator", **facts: object) -> Path:
    """What a trainer leaves behind."""
    export = models.volume.training_run("acme", run) / "export" / revision
    export.mkdir(parents=True)
    fill(export, revision)
    write_manifest(export, {"run": run, "verified": VERIFIED, **facts})
    return export


def serves(models: ModelStore) -> str:
    current = models.current("xtts", "base")
    assert current is not None
    return current.revision


def test_an_export_serves_with_its_facts_and_takes_no_space_of_its_own(models: ModelStore) -> None:
    export = make_export(models)
    model = promote_export(models, export, "base")
    assert (model.kind, model.name, model.revision, model.current) == ("xtts", "base", "narrator-1", True)
    assert serves(models) == "narrator-1"
    facts = verify_manifest(model.path, hashes=True).facts
    assert facts == {"run": "narrator", "verified": VERIFIED}
    assert (model.path / "model.safetensors").samefile(export / "model.safetensors")
    assert models.history("xtts", "base") == ["released"]
    shutil.rmtree(export)
    verify_manifest(model.path, hashes=True)


@pytest.mark.parametrize("refusal", [errno.EXDEV, errno.EPERM])
def test_where_files_cannot_be_linked_they_are_copied(
    refusal: int, models: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "link", refuse)
    export = make_export(models)
    model = promote_export(models, export, "base")
    assert not (model.path / "model.safetensors").samefile(export / "model.safetensors")
    verify_manifest(model.path, hashes=True)


def test_a_copy_that_arrives_damaged_is_not_published(models: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "")

    def damage(_: Path, target: Path) -> None:
        target.write_text("zeros")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfile", damage)
    before = files_below(models.volume.root / "models")
    with pytest.raises(ModelFilesError, match=r"config\.json was damaged"):
        promote_export(models, make_export(models), "base")
    assert files_below(models.volume.root / "models") == before
    assert serves(models) == "released"


def change_a_byte(export: Path) -> None:
    text = (export / "model.safetensors").read_text()
    (export / "model.safetensors").write_text(text.swapcase())


def cut(export: Path) -> None:
    (export / "vocab.json").write_text("")


def lose(export: Path) -> None:
    (export / "speakers_xtts.pth").unlink()


def point_elsewhere(export: Path) -> None:
    target = export.parent / "config of somebody else"
    (export / "config.json").rename(target)
    (export / "config.json").symlink_to(target)


def drop_the_manifest(export: Path) -> None:
    (export / "manifest.json").unlink()


def tear_the_manifest(export: Path) -> None:
    whole = (export / "manifest.json").read_bytes()
    (export / "manifest.json").write_bytes(whole[: len(whole) // 2])


def list_too_little(export: Path) -> None:
    (export / "model.safetensors").unlink()
    write_manifest(export, {"verified": VERIFIED})


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (change_a_byte, r"model\.safetensors: its sha256"),
        (cut, r"vocab\.json: it has 0 bytes"),
        (lose, r"speakers_xtts\.pth"),
        (point_elsewhere, r"config\.json is a link"),
        (drop_the_manifest, r"cannot read .*manifest\.json"),
        (tear_the_manifest, r"manifest\.json is broken"),
        (list_too_little, r"model\.safetensors or .*model\.pth is missing"),
    ],
)
def test_an_export_that_was_tampered_with_is_refused_by_file_and_what_serves_stays(
    damage: Callable[[Path], None], named: str, models: ModelStore
) -> None:
    export = make_export(models)
    damage(export)
    before = files_below(models.volume.root)
    with pytest.raises(ModelFilesError, match=named):
        promote_export(models, export, "base")
    assert files_below(models.volume.root) == before
    assert serves(models) == "released"


@pytest.mark.parametrize("verified", [None, {}, False, "yes"])
def test_an_export_that_nothing_has_loaded_is_refused(verified: object, models: ModelStore) -> None:
    with pytest.raises(ModelFilesError, match=r"manifest\.json does not say 'verified'"):
        promote_export(models, make_export(models, verified=verified), "base")
    assert serves(models) == "released"


def test_an_export_is_promoted_again_after_a_rollback_without_another_copy(models: ModelStore) -> None:
    export = make_export(models)
    promote_export(models, export, "base")
    assert models.rollback("xtts", "base").revision == "released"
    assert promote_export(models, export, "base").current
    assert [model.revision for model in models.list()] == ["narrator-1", "released"]


def test_a_revision_is_never_replaced_by_another_of_its_name(models: ModelStore) -> None:
    promote_export(models, make_export(models), "base")
    models.rollback("xtts", "base")
    other = make_export(models, run="other")
    (other / "model.safetensors").write_text("other weights")
    write_manifest(other, {"verified": VERIFIED})
    with pytest.raises(Conflict, match="narrator-1"):
        promote_export(models, other, "base")
    assert serves(models) == "released"


@pytest.mark.parametrize("name", ["history", "current", ".hidden"])
def test_an_export_whose_name_cannot_be_a_revision_is_refused(name: str, models: ModelStore) -> None:
    with pytest.raises(InvalidRequest) as caught:
        promote_export(models, make_export(models, revision=name), "base")
    assert caught.value.param == "revision"


def test_a_model_made_by_hand_stays_the_one_that_serves_until_the_pointer_moves(
    models: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no pointer, and would have two revisions and none current if the process died in between."""
    hand = models.volume.models("xtts", "base")
    (hand / "current").unlink()

    def die(*_: object) -> None:
        raise StorageError("the volume is gone")

    with monkeypatch.context() as patched:
        patched.setattr(models, "promote", die)
        with pytest.raises(StorageError):
            promote_export(models, make_export(models), "base")
    assert (hand / "narrator-1").is_dir()
    assert serves(models) == "released"
    assert models.history("xtts", "base") == []


def test_a_rollback_of_what_was_never_promoted_says_what_to_do(models: ModelStore) -> None:
    with pytest.raises(NotFound, match="promote the one you want"):
        models.rollback("xtts", "base")
    with pytest.raises(NotFound, match="no xtts model 'other'"):
        models.rollback("xtts", "other")
    assert not models.volume.models("xtts", "other").exists()


def test_a_torn_revision_is_neither_promoted_nor_gone_back_to(models: ModelStore) -> None:
    promote_export(models, make_export(models), "base")
    (models.path("xtts", "base", "released") / "vocab.json").write_text("torn")
    for attempt in (models.rollback, models.promote):
        with pytest.raises(ModelFilesError, match=r"released/vocab\.json"):
            attempt("xtts", "base", "released")
    with pytest.raises(ModelFilesError, match=r"released/vocab\.json"):
        models.rollback("xtts", "base")
    assert serves(models) == "narrator-1"
    assert models.history("xtts", "base") == ["released"]


def test_processes_that_promote_and_roll_back_at_once_end_in_a_state_of_one_of_them(models: ModelStore) -> None:
    exports = [make_export(models, f"narrator-{number}", f"run-{number}") for number in range(2)]
    endings = run_together([start(promote_and_roll_back, models.volume.root, export) for export in exports])
    assert [ending["error"] for ending in endings] == [None, None]
    known = {"released", "narrator-0", "narrator-1"}
    assert serves(models) in {"narrator-0", "narrator-1"}
    past = models.history("xtts", "base")
    assert set(past) <= known
    assert past[0] == "released"
    assert {json.dumps(model.current) for model in models.list()} == {"true", "false"}
    assert [path for path in files_below(models.volume.root) if path.startswith(".staging") or ".tmp" in path] == []
    assert models.rollback("xtts", "base").revision == past[-1]


def status(models: ModelStore, export: str | None, state: RunState = "succeeded") -> None:
    now = datetime.now(UTC)
    directory = models.volume.training_run("acme", "narrator")
    write_status(directory, RunStatus(state=state, export=export, started_at=now, updated_at=now))


def test_the_newest_export_is_the_one_that_the_status_names(models: ModelStore) -> None:
    first, second = make_export(models, "n-1"), make_export(models, "n-2")
    os.utime(first / "manifest.json", (1, 1))
    assert newest_export(models.volume, "acme", "narrator") == second
    status(models, "n-1")
    assert newest_export(models.volume, "acme", "narrator") == first
    for gone in ("n-3", "../../../models/xtts/base/released"):
        status(models, gone)
        assert newest_export(models.volume, "acme", "narrator") == second


def test_a_run_without_a_complete_export_has_none(models: ModelStore) -> None:
    with pytest.raises(NotFound, match="no such run"):
        newest_export(models.volume, "acme", "narrator")
    (make_export(models) / "manifest.json").unlink()
    status(models, None, "exporting")
    with pytest.raises(NotFound, match=r"has exported nothing: .* is exporting now"):
        newest_export(models.volume, "acme", "narrator")
