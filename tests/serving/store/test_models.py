from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest

from serving.errors import Conflict, InvalidRequest, ModelFilesError, NotFound
from serving.store.manifest import verify_manifest, write_manifest
from serving.store.models import ModelStore, verify_xtts
from serving.store.volume import Volume
from tests.serving.store.writers import files_below


def make_store(root: Path) -> ModelStore:
    volume = Volume(root)
    volume.create()
    return ModelStore(volume)


def publish(store: ModelStore, revision: str, name: str = "base") -> None:
    with store.publish("xtts", name, revision, {"licence": "CPML"}) as staging:
        (staging / "model.pth").write_bytes(b"weights of " + revision.encode())


def test_a_published_revision_is_verified_and_current(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, "r1")
    current = store.current("xtts", "base")
    assert current is not None
    assert (current.kind, current.name, current.revision, current.current) == ("xtts", "base", "r1", True)
    assert current.path == tmp_path / "models" / "xtts" / "base" / "r1"
    assert current.bytes == sum(path.stat().st_size for path in current.path.iterdir())
    assert verify_manifest(current.path, hashes=True).facts == {"licence": "CPML"}


def test_promotion_goes_forward_and_back(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, "r1")
    publish(store, "r2")
    assert [(model.revision, model.current) for model in store.list()] == [("r1", False), ("r2", True)]
    store.promote("xtts", "base", "r1")
    assert [(model.revision, model.current) for model in store.list()] == [("r1", True), ("r2", False)]


@pytest.mark.parametrize("weights", ["model.pth", "model.safetensors"])
def test_an_xtts_directory_made_by_hand_needs_three_files(tmp_path: Path, weights: str) -> None:
    for name in ("config.json", "vocab.json", weights):
        with pytest.raises(ModelFilesError, match=rf"{name.split('.')[0]}.* is missing"):
            verify_xtts(tmp_path)
        (tmp_path / name).write_bytes(b"x")
    verify_xtts(tmp_path)


def test_xtts_files_that_differ_from_the_manifest_in_size_are_refused_by_name(tmp_path: Path) -> None:
    for name in ("config.json", "vocab.json", "model.pth", "speakers_xtts.pth"):
        (tmp_path / name).write_bytes(b"whole")
    write_manifest(tmp_path, {})
    verify_xtts(tmp_path)
    (tmp_path / "speakers_xtts.pth").write_bytes(b"tor")
    with pytest.raises(ModelFilesError, match=r"speakers_xtts\.pth.*3 bytes"):
        verify_xtts(tmp_path)


def test_every_model_is_listed_in_order_and_stray_files_are_not(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    assert store.list() == []
    publish(store, "r1", name="narrator")
    publish(store, "r1", name="base")
    (tmp_path / "models" / "README").write_text("notes")
    (tmp_path / "models" / "xtts" / "base" / "no-manifest").mkdir()
    (tmp_path / "models" / "xtts" / ".base.tmp").mkdir()
    assert [(model.name, model.revision) for model in store.list()] == [("base", "r1"), ("narrator", "r1")]


def test_an_unknown_model_has_no_current_revision(tmp_path: Path) -> None:
    assert make_store(tmp_path).current("xtts", "base") is None


def test_the_only_revision_of_a_hand_made_model_is_current(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    directory = tmp_path / "models" / "xtts" / "base" / "mine"
    directory.mkdir(parents=True)
    (directory / "model.pth").write_bytes(b"weights")
    current = store.current("xtts", "base")
    assert current is not None
    assert (current.revision, current.bytes) == ("mine", 7)
    (tmp_path / "models" / "xtts" / "base" / "other").mkdir()
    with pytest.raises(ModelFilesError, match="several revisions"):
        store.current("xtts", "base")


@pytest.mark.parametrize("pointer", [b"", b"r2\n", b"../base/r1", b"\xff\xfe", b"x" * 1000])
def test_a_torn_pointer_is_refused_by_name(pointer: bytes, tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, "r1")
    (tmp_path / "models" / "xtts" / "base" / "current").write_bytes(pointer)
    with pytest.raises(ModelFilesError, match="base/current names"):
        store.current("xtts", "base")
    assert [model.current for model in store.list()] == [False]


def test_a_pointer_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    (tmp_path / "models" / "xtts" / "base" / "current").mkdir(parents=True)
    with pytest.raises(ModelFilesError, match=r"cannot read .*current"):
        store.current("xtts", "base")


def test_promoting_an_unknown_revision_changes_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, "r1")
    with pytest.raises(NotFound) as caught:
        store.promote("xtts", "base", "r2")
    assert caught.value.param == "revision"
    current = store.current("xtts", "base")
    assert current is not None
    assert current.revision == "r1"


@pytest.mark.parametrize("revision", ["current", "..", "a/b", "", ".hidden"])
def test_a_revision_that_cannot_be_a_directory_is_refused(revision: str, tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for refused in (partial(publish, store), partial(store.promote, "xtts", "base")):
        with pytest.raises(InvalidRequest) as caught:
            refused(revision)
        assert caught.value.param == "revision"
    assert files_below(tmp_path) == []


def test_a_revision_is_published_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, "r1")
    with pytest.raises(Conflict):
        publish(store, "r1")


def test_a_revision_that_cannot_be_promoted_is_not_left_behind(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    (tmp_path / "models" / "xtts" / "base" / "current").mkdir(parents=True)
    with pytest.raises(ModelFilesError, match="remove it"):
        publish(store, "r1")
    assert not (tmp_path / "models" / "xtts" / "base" / "r1").exists()


def test_a_reader_sees_a_whole_pointer_at_every_moment(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, "r1")
    publish(store, "r2")
    done = threading.Event()

    def promote_back_and_forth() -> None:
        for turn in range(50):
            store.promote("xtts", "base", f"r{turn % 2 + 1}")
        done.set()

    writer = threading.Thread(target=promote_back_and_forth)
    writer.start()
    seen = set()
    while not done.is_set():
        current = store.current("xtts", "base")
        seen.add(current and current.revision)
    writer.join()
    assert seen <= {"r1", "r2"}
