"""A transaction that fails may be done all the same: the connection breaks between its COMMIT and the answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from serving.errors import Conflict, StorageError, Unavailable
from serving.store.conversion_models import ConversionModelStore
from serving.store.database import Database
from serving.store.datasets import Dataset, DatasetStore
from serving.store.jobs import JobStore
from serving.store.voices import VoiceStore
from serving.store.volume import Volume
from tests.serving.store import job_workbench, test_conversion_models
from tests.serving.store.test_training_runs import SPEC, fill

FAULTS = (Unavailable, StorageError)


class Added(Protocol):
    @property
    def id(self) -> str: ...


Add = Callable[[], Added]


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    volume = Volume(tmp_path / "data")
    volume.create()
    return volume


@pytest.fixture(params=["voices", "models/rvc", "jobs", "datasets"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def add(kind: str, volume: Volume, database: Database) -> Add:
    match kind:
        case "voices":
            voices = VoiceStore(volume, database)
            return lambda: voices.add(tenant="a", name="Nova", references=[b"RIFF"], reference_seconds=6.0)
        case "models/rvc":
            models = ConversionModelStore(volume, database)
            return lambda: models.add(tenant="a", name="Nova", fill=test_conversion_models.fill)
        case "jobs":
            return lambda: job_workbench.add(JobStore(volume, database))
        case _:
            return lambda: DatasetStore(volume, database).add("Nova", SPEC, fill)


def break_at(sessions: sessionmaker[Session], moment: str) -> None:
    """Let the connection break there, whenever a session gets to it."""

    def lost(*_: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))

    event.listen(sessions, moment, lost)


def directories(volume: Volume, kind: str) -> list[str]:
    return [path.name for path in (volume.root / kind).glob("*" if kind == "models/rvc" else "*/*")]


def test_what_is_recorded_is_added_although_the_answer_was_lost(
    add: Add, kind: str, volume: Volume, database: Database
) -> None:
    break_at(database._sessions, "after_commit")
    added = add()
    assert directories(volume, kind) == [added.id]


def test_what_is_not_recorded_leaves_nothing(add: Add, kind: str, volume: Volume, database: Database) -> None:
    break_at(database._sessions, "before_commit")
    with pytest.raises(FAULTS):
        add()
    assert directories(volume, kind) == []


def test_files_stay_where_nobody_knows(add: Add, kind: str, volume: Volume, database: Database) -> None:
    break_at(database._sessions, "after_commit")

    @event.listens_for(database._sessions, "before_commit")
    def _(_session: Session) -> None:
        break_at(database._readers, "after_begin")

    with pytest.raises(FAULTS):
        add()
    assert len(directories(volume, kind)) == 1


@pytest.fixture(params=["voices", "models/rvc"])
def store(request: pytest.FixtureRequest, volume: Volume, database: Database) -> VoiceStore | ConversionModelStore:
    """It has one of a person's voice named Nova."""
    if request.param == "voices":
        voices = VoiceStore(volume, database)
        voices.add(tenant="a", name="Nova", references=[b"RIFF"], reference_seconds=6.0)
        return voices
    models = ConversionModelStore(volume, database)
    models.add(tenant="a", name="Nova", fill=test_conversion_models.fill)
    return models


def left_of(volume: Volume) -> list[Path]:
    """Files of a voice, wherever they are."""
    return [path for path in volume.root.rglob("*") if path.is_file() and not path.name.startswith("kubevoice.db")]


def test_a_voice_is_deleted_although_the_answer_was_lost(
    store: VoiceStore | ConversionModelStore, volume: Volume, database: Database
) -> None:
    break_at(database._sessions, "after_commit")
    store.delete("a", "Nova")
    assert store.list("a") == []
    assert left_of(volume) == []


def test_a_voice_that_stays_recorded_keeps_its_files(
    store: VoiceStore | ConversionModelStore, volume: Volume, database: Database
) -> None:
    before = left_of(volume)
    break_at(database._sessions, "before_commit")
    with pytest.raises(FAULTS):
        store.delete("a", "Nova")
    assert left_of(volume) == before
    assert [each.name for each in store.list("a")] == ["Nova"]


def test_a_process_that_dies_while_it_deletes_leaves_no_voice_to_be_found_again(
    store: VoiceStore | ConversionModelStore, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(Database, "forget", die)
        dying.setattr(Path, "rename", _once(Path.rename))  # nothing of the clean-up is done any more
        with pytest.raises(Killed):
            store.delete("a", "Nova")
    store.reindex()
    assert store.list("a") == []
    volume.sweep(0)
    assert left_of(volume) == []


def _once(function: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
    calls: list[Path] = []

    def called(path: Path, target: Path) -> Path:
        calls.append(path)
        return function(path, target) if len(calls) == 1 else path

    return called


def prepared(datasets: DatasetStore) -> Dataset:
    made = datasets.add("Ada", SPEC, fill)
    datasets.move(made, only_from=["starting"], phase="finished", state="succeeded", reason="")
    return datasets.get(made.tenant, made.id)


def added_to(dataset: Dataset) -> int:
    return len(list((dataset.directory / "raw").glob("added-*")))


@pytest.mark.parametrize(("moment", "left"), [("before_commit", 0), ("after_commit", 1)])
def test_recordings_that_extend_a_dataset_stay_if_that_is_recorded(
    moment: str, left: int, volume: Volume, database: Database
) -> None:
    datasets = DatasetStore(volume, database)
    dataset = prepared(datasets)
    break_at(database._sessions, moment)
    with pytest.raises(FAULTS):
        datasets.extend(dataset, fill)
    assert added_to(dataset) == left == datasets.get(dataset.tenant, dataset.id).attempt - 1


def test_recordings_that_came_second_do_not_stay(volume: Volume, database: Database) -> None:
    datasets = DatasetStore(volume, database)
    dataset = prepared(datasets)
    datasets.extend(dataset, fill)
    with pytest.raises(Conflict, match="is being prepared"):
        datasets.extend(dataset, fill)
    assert added_to(dataset) == 1
