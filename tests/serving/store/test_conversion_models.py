from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, text
from sqlalchemy.exc import SQLAlchemyError

from serving.errors import Conflict, InvalidRequest, KubevoiceError, NotFound, StorageError
from serving.store.conversion_models import ConversionModel, ConversionModelStore
from serving.store.database import Database
from serving.store.manifest import read_manifest, verify_manifest
from serving.store.records import ConversionModelRow
from serving.store.volume import Volume
from tests.serving.store import writers
from tests.serving.store.test_volume import TRICKS

FACTS: Mapping[str, object] = {
    "version": "v2",
    "sample_rate": 40000,
    "f0": True,
    "speakers": 109,
    "index_vectors": 7,
    "notes": ("it calls itself v1",),
}


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    volume = Volume(tmp_path / "data")
    volume.create()
    return volume


@pytest.fixture
def store(volume: Volume, database: Database) -> ConversionModelStore:
    return ConversionModelStore(volume, database)


def fill(directory: Path) -> Mapping[str, object]:
    (directory / "weights.safetensors").write_bytes(b"weights")
    (directory / "index.safetensors").write_bytes(b"index")
    return FACTS


def add(store: ConversionModelStore, name: str = "Nova", tenant: str = "acme") -> ConversionModel:
    return store.add(tenant=tenant, name=name, fill=fill)


def model_directories(volume: Volume) -> list[str]:
    return sorted(path.name for path in volume.root.glob("models/rvc/*"))


def test_an_added_model_has_its_files_and_their_hashes_on_the_volume(
    store: ConversionModelStore, volume: Volume
) -> None:
    before = datetime.now(UTC)
    model = add(store, name="Zoë (warm)")
    assert (model.tenant, model.name, model.version, model.sample_rate) == ("acme", "Zoë (warm)", "v2", 40000)
    assert (model.f0, model.speakers, model.index_vectors, model.bytes) == (True, 109, 7, 12)
    assert model.notes == ("it calls itself v1",)
    assert before <= model.created_at <= datetime.now(UTC)
    assert model.created_at.utcoffset() == timedelta(0)
    assert model.directory.parent == volume.root / "models" / "rvc" / model.id
    assert (model.directory / "weights.safetensors").read_bytes() == b"weights"
    assert set(verify_manifest(model.directory, hashes=True).files) == {"weights.safetensors", "index.safetensors"}
    assert read_manifest(model.directory).facts["name"] == "Zoë (warm)"
    assert list((volume.root / ".staging").iterdir()) == []


def test_a_model_is_found_by_id_and_by_any_spelling_of_its_name(store: ConversionModelStore) -> None:
    model = add(store, name="Zo\u00eb")
    for key in (model.id, "Zo\u00eb", "Zoe\u0308"):
        assert store.get("acme", key) == model


@pytest.mark.parametrize("key", ["nova", "", "rvc_" + "0" * 24, "a\0b", "\ud800", "../x", "%", "x" * 100_000])
def test_an_unknown_model_is_not_found(key: str, store: ConversionModelStore) -> None:
    add(store)
    for use in (store.get, store.delete):
        with pytest.raises(NotFound) as caught:
            use("acme", key)
        assert (caught.value.param, caught.value.code) == ("model", "model_not_found")
        assert len(caught.value.message) < 1000
    assert len(store.list("acme")) == 1


def test_tenants_do_not_see_each_other(store: ConversionModelStore) -> None:
    theirs, ours = add(store, tenant="other"), add(store)
    assert (store.list("acme"), store.list("other"), store.list("nobody")) == ([ours], [theirs], [])
    for use in (store.get, store.delete):
        with pytest.raises(NotFound):
            use("acme", theirs.id)


@pytest.mark.parametrize("tenant", TRICKS)
def test_a_tenant_that_is_no_path_component_is_refused(tenant: str, store: ConversionModelStore) -> None:
    for use in (lambda: add(store, tenant=tenant), lambda: store.get(tenant, "Nova"), lambda: store.list(tenant)):
        with pytest.raises(InvalidRequest) as caught:
            use()
        assert caught.value.param == "tenant"


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a\0b", "x" * 65, "rvc_" + "0" * 24])
def test_a_name_that_cannot_be_used_is_refused_and_leaves_nothing(
    name: str, store: ConversionModelStore, volume: Volume
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        add(store, name=name)
    assert caught.value.param == "name"
    assert writers.files_below(volume.root) == []


def test_a_name_is_taken_until_its_model_is_deleted(store: ConversionModelStore, volume: Volume) -> None:
    model = add(store)
    with pytest.raises(Conflict) as caught:
        add(store)
    assert caught.value.param == "name"
    assert model_directories(volume) == [model.id]
    assert store.delete("acme", "Nova") == model.id
    assert store.get("acme", add(store).id).name == "Nova"


def test_models_are_listed_oldest_first(store: ConversionModelStore) -> None:
    names = ["b", "c", "a"]
    for name in names:
        add(store, name=name)
    assert [model.name for model in store.list("acme")] == names


def test_a_deleted_model_is_gone_while_an_open_reader_finishes(store: ConversionModelStore, volume: Volume) -> None:
    model = add(store)
    with (model.directory / "weights.safetensors").open("rb") as reader:
        store.delete("acme", model.id)
        assert model_directories(volume) == []
        assert reader.read() == b"weights"
    assert volume.sweep(0) == 0, "it is not kept for a day"
    assert writers.files_below(volume.root) == []


def refuse(directory: Path) -> Mapping[str, object]:
    fill(directory)
    raise InvalidRequest("file is no RVC model", "file")


def be_away(directory: Path) -> Mapping[str, object]:
    fill(directory)
    raise OSError(28, "No space left on device")


def be_wrong(directory: Path) -> Mapping[str, object]:
    fill(directory)
    return {**FACTS, "version": "v9"}


@pytest.mark.parametrize("fail", [refuse, be_away, be_wrong])
def test_nothing_is_left_of_a_model_that_could_not_be_written(
    store: ConversionModelStore, volume: Volume, fail: Callable[[Path], Mapping[str, object]]
) -> None:
    with pytest.raises((KubevoiceError, ValueError)):
        store.add(tenant="acme", name="Nova", fill=fail)
    assert (model_directories(volume), store.list("acme"), writers.files_below(volume.root)) == ([], [], [])
    add(store)


def test_nothing_is_left_of_a_model_that_cannot_be_promoted(
    store: ConversionModelStore, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise StorageError("the volume is read-only")

    with monkeypatch.context() as patch:
        patch.setattr("serving.store.pointer.write_atomic", refused)
        with pytest.raises(StorageError):
            add(store)
    assert (model_directories(volume), store.list("acme")) == ([], [])


def test_nothing_is_left_of_a_model_whose_row_cannot_be_written(
    store: ConversionModelStore, volume: Volume, database: Database
) -> None:
    with database.session() as session:
        session.execute(text("ALTER TABLE conversion_models RENAME COLUMN f0 TO renamed"))
    with pytest.raises((KubevoiceError, SQLAlchemyError)):
        add(store)
    assert model_directories(volume) == []


def test_of_many_threads_adding_one_name_exactly_one_wins(store: ConversionModelStore, volume: Volume) -> None:
    def try_to_add(_: int) -> str | None:
        try:
            return add(store).id
        except Conflict:
            return None

    with ThreadPoolExecutor(8) as pool:
        winners = [model_id for model_id in pool.map(try_to_add, range(8)) if model_id]
    assert [model.id for model in store.list("acme")] == winners == model_directories(volume)
    assert len(winners) == 1


def forget_all(database: Database) -> None:
    with database.session() as session:
        session.execute(delete(ConversionModelRow))


def test_reindex_brings_back_every_model_of_a_lost_database(store: ConversionModelStore, database: Database) -> None:
    models = [add(store, name=name) for name in ("b", "a")]
    theirs = add(store, tenant="other")
    forget_all(database)
    assert store.list("acme") == []
    assert store.reindex() == 3
    assert (store.list("acme"), store.list("other")) == (models, [theirs])
    assert store.reindex() == 3


def test_reindex_drops_the_rows_of_lost_directories(store: ConversionModelStore, volume: Volume) -> None:
    lost, kept = add(store, name="lost"), add(store, name="kept")
    shutil.rmtree(volume.root / "models" / "rvc" / lost.id)
    assert store.reindex() == 1
    assert store.list("acme") == [kept]


def test_reindex_leaves_out_what_it_cannot_use(
    store: ConversionModelStore, volume: Volume, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    torn, lost, moved, whole = (add(store, name=name) for name in ("torn", "lost", "moved", "whole"))
    (torn.directory / "manifest.json").write_text('{"files": ')
    (lost.directory.parent / "current").write_text("r2\n")
    moved.directory.parent.rename(moved.directory.parent.with_name("rvc_by_hand"))
    (volume.root / "models" / "rvc" / "stray").mkdir()
    forget_all(database)
    assert store.reindex() == 1
    assert store.list("acme") == [whole]
    assert all(name in caplog.text for name in (torn.id, lost.id, "rvc_by_hand"))


def test_a_reindex_that_is_faster_than_the_adding_does_not_cost_the_model(volume: Volume, database: Database) -> None:
    class Reindexed(ConversionModelStore):
        def _record(self, *known: object) -> None:
            assert ConversionModelStore(volume, database).reindex() == 1
            super()._record(*known)  # type: ignore[arg-type]

    store = Reindexed(volume, database)
    model = add(store)
    assert store.list("acme") == [model]
    assert model_directories(volume) == [model.id]
