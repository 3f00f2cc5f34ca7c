"""A process that dies between any two steps of a start, and the request that is repeated then, are one run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.launch.local import LocalLauncher
from serving.runs import Trainings
from serving.store.database import Database
from serving.store.training_files import RUN_FILE
from serving.store.training_runs import TrainingRun, TrainingRunStore
from serving.store.volume import Volume
from tests.serving.training_runs import add_dataset, record, the_only


@pytest.fixture
def store(data_root: Path) -> Iterator[TrainingRunStore]:
    database = Database.for_volume(None, data_root)
    yield TrainingRunStore(Volume(data_root), database)
    database.close()


@pytest.fixture
def dataset(tmp_path: Path, store: TrainingRunStore) -> Iterator[str]:
    database = Database.for_volume(None, tmp_path / "data")
    yield add_dataset(store.volume, database)
    database.close()


class Local(Trainings):
    """Runs that leave a mark each time they are started, and a process that dies at ``step``."""

    def __init__(self, store: TrainingRunStore, step: str = "") -> None:
        launcher = LocalLauncher(store.volume.root / "launch", poll_s=0.02)
        super().__init__(store, launcher)
        if step == "record":
            self.lay = _die  # type: ignore[assignment, method-assign]
        elif step == "folder":
            self._launch = _die  # type: ignore[assignment, method-assign]
        elif step == "request":
            launcher._supervise = _die  # type: ignore[assignment, method-assign]
        elif step == "run":
            store.move = _die  # type: ignore[method-assign]

    def command(self, item: TrainingRun) -> list[str]:
        return ["sh", "-c", f"echo x >> {item.directory}/started"]


def _die(*_: object, **__: object) -> bool:
    os.kill(os.getpid(), signal.SIGKILL)
    return True


def start_and_die(data: Path, dataset: str, step: str) -> None:
    """The body of a process."""
    store = TrainingRunStore(Volume(data), Database.for_volume(None, data))
    Local(store, step).start(record(store, dataset))


@pytest.mark.parametrize("step", ["record", "folder", "request", "run"])
def test_a_process_killed_between_two_steps_and_a_repeated_request_are_one_run(
    store: TrainingRunStore, dataset: str, step: str
) -> None:
    script = "import sys; from pathlib import Path; from tests.serving.test_runs_killed import start_and_die as it; "
    script += "it(Path(sys.argv[1]), *sys.argv[2:])"
    killed = subprocess.run(
        [sys.executable, "-c", script, str(store.volume.root), dataset, step],
        cwd=Path(__file__).parents[2], timeout=120, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL

    trainings = Local(store)
    run = trainings.start(record(store, dataset))
    assert (the_only(store).id, run.phase) == (run.id, "started")
    *_, last = trainings.launcher.changes(run.job)
    assert last.state == "succeeded"
    assert (run.directory / "started").read_text() == "x\n"
    assert (run.directory / RUN_FILE).is_file()
    assert [each.name for each in trainings.launcher.runs()] == [run.job]
    assert [path.name for path in (store.volume.root / "training" / "default").iterdir()] == [run.id]
