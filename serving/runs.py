"""From records to runs and back: started once whatever dies on the way, told truly, stopped for sure.

A record comes first, then its folder, then the launcher's run, whose name follows from the record: each step may be
repeated by any process, and none makes a second run. What is left half done is taken up by ``sync``.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Generic, TypeVar

from serving.errors import Conflict, KubevoiceError, NotFound, RequestError, TryLater, Unavailable
from serving.launch.base import Kind, Run, RunLauncher, label_value
from serving.store.dataset_files import DatasetStatus, read_dataset_status
from serving.store.datasets import Dataset, DatasetStore
from serving.store.launched import Launched, LaunchedState, LaunchedStore, Phase
from serving.store.training_files import RunStatus, read_status
from serving.store.training_runs import TrainingRun, TrainingRunStore

SETTLE_S = 20.0
"""Age of a record at which a start or a stop that did not come to its end is taken up by whoever looks first."""

GIVE_UP_S = 3600.0
"""After that long without an answer a start is given up."""

GONE = "its Job is gone: deleted from outside, or removed after its end; resume it"
STOPPING = "told to stop; it saves first"
TENANT_LABEL = "kubevoice.io/tenant"
"""For people: nothing reads a tenant back from it."""

ID_LABEL = "kubevoice.io/id"

END_STATES: Mapping[str, LaunchedState] = {
    "ready": "succeeded",
    "succeeded": "succeeded",
    "failed": "failed",
    "stopped": "cancelled",
}
"""Of the status files of datasets and runs."""

Item = TypeVar("Item", bound=Launched)

log = logging.getLogger(__name__)


class Runs(ABC, Generic[Item]):
    """The runs of one kind of record. Synchronous; for several threads and processes at once."""

    kind: ClassVar[Kind]

    def __init__(self, store: LaunchedStore[Any, Item], launcher: RunLauncher) -> None:
        self.store = store
        self.launcher = launcher
        self._quiet_until = 0.0
        self._syncing = threading.Lock()

    @abstractmethod
    def command(self, item: Item) -> list[str]:
        """What works on ``item``."""

    @abstractmethod
    def said(self, item: Item) -> tuple[LaunchedState | None, str]:
        """What the command of this attempt says of its end, in its status file: a state, or None, and a sentence."""

    def lay(self, item: Item) -> None:
        """Make what the command reads; may have been made before."""

    def drop(self, item: Item) -> None:
        """Take back a record that could not be started at its first attempt."""

    def start(self, item: Item, *, again: bool = False) -> Item:
        """Start ``item``, unless that is done.

        Where it is not certain whether the launcher has started it, it stays queued for ``sync``. Raises what the
        launcher refuses for good; the record is dropped then, or, with ``again``, says so.
        """
        if item.phase != "starting":
            return item
        try:
            self.lay(item)
            self._launch(item)
        except Unavailable as error:
            self._quieten(error)
            self._move(item, ("starting",), "starting", "queued", f"is started as soon as possible: {error.message}")
        except KubevoiceError as error:
            if again:
                self._move(item, ("starting",), "finished", "failed", f"could not be started: {error.message}")
            else:
                self.drop(item)
            raise
        else:
            if not self.store.move(item, only_from=["starting"], phase="started", state="queued", reason=""):
                self._check_wanted(item)
        return self.store.get(item.tenant, item.id)

    def seen(self, item: Item) -> Item:
        """``item`` with what the launcher and the status file say of it now; what is final is written down."""
        if item.phase in {"finished", "starting"}:
            return item
        try:
            run = self.launcher.status(item.job)
        except NotFound:
            return self._without_run(item)
        except TryLater as error:
            self._quieten(error)
            return item
        return self._with_run(item, run)

    def all_seen(self, items: Sequence[Item]) -> list[Item]:
        """Like ``seen``, by one question to the launcher."""
        if not any(item.phase in {"started", "cancelling"} for item in items):
            return list(items)
        try:
            runs = {run.name: run for run in self.launcher.runs()}
        except TryLater as error:
            self._quieten(error)
            return list(items)
        told = []
        for item in items:
            if item.phase in {"finished", "starting"}:
                told.append(item)
            elif item.job in runs:
                told.append(self._with_run(item, runs[item.job]))
            else:
                told.append(self._without_run(item))
        return told

    def cancel(self, item: Item) -> Item:
        """Stop ``item``, which saves first. Raises Conflict if it has finished."""
        item = self.seen(item)
        if not item.active:
            raise Conflict(f"{item.id} has {_ended(item.state)} already", "run")
        if item.phase != "cancelling":
            self._move(item, ("starting", "started"), "cancelling", "running", STOPPING)
        return self._stopped(self.store.get(item.tenant, item.id))

    def sync(self) -> None:
        """Take up what was left half done, and write down what has ended before its launcher forgets it."""
        if time.monotonic() < self._quiet_until or not self._syncing.acquire(blocking=False):
            return
        try:
            for item in self.all_seen(self.store.unfinished()):
                try:
                    self._settle(item)
                except KubevoiceError as error:
                    log.warning("%s: %s", item.id, error)
        finally:
            self._syncing.release()

    def _settle(self, item: Item) -> None:
        age = datetime.now(UTC) - item.attempted_at
        if item.phase == "cancelling":
            self._stopped(item)
        elif item.phase == "starting" and age > timedelta(seconds=SETTLE_S):
            if age > timedelta(seconds=GIVE_UP_S):
                self._move(item, ("starting",), "finished", "failed", f"could not be started: {item.reason}")
            else:
                self.start(item, again=True)

    def _launch(self, item: Item) -> None:
        labels = {TENANT_LABEL: label_value(item.tenant), ID_LABEL: item.id}
        try:
            self.launcher.start(item.job, self.command(item), labels=labels, kind=self.kind)
        except Conflict:
            return  # an earlier try, or another process, has started it
        except KubevoiceError as error:
            if isinstance(error, Unavailable) or not self._is_there(item.job):
                raise  # a quota may refuse the second of two starts although the first was taken

    def _is_there(self, job: str) -> bool:
        try:
            self.launcher.status(job)
        except (RequestError, TryLater):
            return False
        return True

    def _check_wanted(self, item: Item) -> None:
        """Another process has moved the record on meanwhile: stop what nobody wants any more."""
        try:
            now = self.store.get(item.tenant, item.id)
        except NotFound:
            self._stop(item)
            raise
        if now.attempt == item.attempt and now.phase in {"cancelling", "finished"}:
            self._stop(item)

    def _stopped(self, item: Item) -> Item:
        """``item`` after another step towards its end."""
        if item.phase != "cancelling":
            return item
        try:
            run = self.launcher.status(item.job)
            if not run.finished:
                self.launcher.stop(item.job)
                return item
            return self._with_run(item, run)
        except NotFound:
            return self._without_run(item)
        except TryLater as error:
            self._quieten(error)
            return item

    def _stop(self, item: Item) -> None:
        try:
            self.launcher.stop(item.job)
        except (NotFound, TryLater) as error:
            log.warning("%s: %s", item.job, error)

    def _with_run(self, item: Item, run: Run) -> Item:
        if run.state == "stopped":
            return self._finish(item, "cancelled", run.reason or self.said(item)[1])
        if run.state == "succeeded":
            return self._finish(item, "succeeded", "")
        if run.state == "failed":
            state, sentence = self.said(item)
            return self._finish(item, "failed", sentence if state == "failed" and sentence else run.reason)
        if item.phase == "cancelling":
            return item
        if (item.state, item.reason) != (run.state, run.reason):
            self._move(item, ("started",), "started", run.state, run.reason)
        return self.store.get(item.tenant, item.id)

    def _without_run(self, item: Item) -> Item:
        """The launcher has no such run: it was stopped, or has ended a while ago."""
        try:
            if self.launcher.ending(item.job):
                return item
        except TryLater:
            return item
        state, sentence = self.said(item)
        if item.phase == "cancelling" and state != "succeeded":
            return self._finish(item, "cancelled", "")
        return self._finish(item, state or "failed", sentence if state else GONE)

    def _finish(self, item: Item, state: LaunchedState, reason: str) -> Item:
        self._move(item, ("started", "cancelling"), "finished", state, reason)
        return self.store.get(item.tenant, item.id)

    def _move(self, item: Item, only_from: Sequence[Phase], phase: Phase, state: LaunchedState, reason: str) -> None:
        self.store.move(item, only_from=only_from, phase=phase, state=state, reason=reason)

    def _quieten(self, error: TryLater) -> None:
        """Leave the launcher alone for as long as it asks."""
        self._quiet_until = time.monotonic() + error.retry_after_s


class Preparations(Runs[Dataset]):
    """Datasets, prepared."""

    kind = "dataset"

    def __init__(self, store: DatasetStore, launcher: RunLauncher) -> None:
        super().__init__(store, launcher)
        self._datasets = store

    def lay(self, item: Dataset) -> None:
        self._datasets.lay(item)

    def command(self, item: Dataset) -> list[str]:
        return ["python", "-m", "training.dataset", str(item.directory)]

    def said(self, item: Dataset) -> tuple[LaunchedState | None, str]:
        return _last_word(read_dataset_status(item.directory), item)


class Trainings(Runs[TrainingRun]):
    """Training runs. ``store`` is theirs."""

    kind = "training"

    def __init__(self, store: TrainingRunStore, launcher: RunLauncher) -> None:
        super().__init__(store, launcher)
        self._runs = store

    def command(self, item: TrainingRun) -> list[str]:
        return ["python", "-m", "training.xtts", str(item.directory)]

    def said(self, item: TrainingRun) -> tuple[LaunchedState | None, str]:
        return _last_word(read_status(item.directory), item)

    def lay(self, item: TrainingRun) -> None:
        self._runs.lay(item)

    def drop(self, item: TrainingRun) -> None:
        self._runs.drop(item)


def _last_word(status: DatasetStatus | RunStatus | None, item: Launched) -> tuple[LaunchedState | None, str]:
    """What ``status`` says of the end of ``item``, unless it is about an earlier attempt."""
    if status is None or status.updated_at < item.attempted_at:
        return None, ""
    return END_STATES.get(status.state), status.error or ""


def _ended(state: str) -> str:
    return {"succeeded": "succeeded", "failed": "failed"}.get(state, "been cancelled")
