"""The one thread that owns a converter's device: it takes what waits, as much of one kind as goes together."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch

from serving.engines.failures import typed
from serving.errors import Overloaded, Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    future: Future[Result] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class Batcher(Generic[Item, Result]):
    """Runs ``process`` on a thread of its own, on up to ``most`` items of one ``kind`` at a time, oldest first.

    ``process`` gives a result for each. Items that fail together are tried alone, so that each has its own error.
    At most ``queue`` items wait.
    """

    def __init__(
        self,
        name: str,
        device: torch.device,
        process: Callable[[Sequence[Item]], Sequence[Result]],
        kind: Callable[[Item], Hashable],
        *,
        most: int,
        queue: int,
    ) -> None:
        self._device = device
        self._process = process
        self._kind = kind
        self._most = most
        self._queue = queue
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._busy_since: float | None = None
        self._running = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> Future[Result]:
        """The result of ``item``; cancelling it before its turn takes it out. Raises Overloaded, or Unavailable."""
        with self._changed:
            if self._closed:
                raise Unavailable("the converter is closed")
            wanted = len(self._wanted())
            if wanted >= self._queue:
                raise Overloaded(f"the converter is busy and {wanted} windows wait; try again shortly", 1)
            waiting: _Waiting[Item, Result] = _Waiting(item)
            self._waiting.append(waiting)
            self._changed.notify()
            return waiting.future

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closed

    @property
    def stuck_s(self) -> float:
        """Seconds that the present batch has taken; 0 between two."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def load(self) -> tuple[int, int, float]:
        """Items in work, items that wait, and how long the oldest of those has waited."""
        with self._changed:
            wanted = self._wanted()
            age = time.monotonic() - wanted[0].since if wanted else 0.0
            return self._running, len(wanted), age

    def close(self) -> None:
        """End what waits and wait for what is in work; safe to call again."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _wanted(self) -> list[_Waiting[Item, Result]]:
        """What waits and was not cancelled, oldest first; what was cancelled goes at the next turn."""
        return [waiting for waiting in self._waiting if not waiting.future.cancelled()]

    def _run(self) -> None:
        torch.set_flush_denormal(True)  # of this thread; a softmax that is sure makes many, which a CPU is slow with
        on_device = torch.cuda.device(self._device) if self._device.type == "cuda" else contextlib.nullcontext()
        with on_device, torch.inference_mode():
            while batch := self._take():
                self._busy_since = time.monotonic()
                self._work(batch)
                self._busy_since = None
        for waiting in self._waiting:
            if waiting.future.set_running_or_notify_cancel():
                waiting.future.set_exception(Unavailable("the converter was closed"))

    def _take(self) -> list[_Waiting[Item, Result]]:
        """The next batch; empty once closed."""
        with self._changed:
            self._running = 0
            while not self._closed:
                batch = self._pick()
                if batch:
                    self._running = len(batch)
                    return batch
                self._changed.wait()
        return []

    def _pick(self) -> list[_Waiting[Item, Result]]:
        """The oldest item that is still wanted and others of its kind."""
        kept: deque[_Waiting[Item, Result]] = deque()
        batch: list[_Waiting[Item, Result]] = []
        for waiting in self._waiting:
            fits = len(batch) < self._most and (not batch or self._kind(waiting.item) == self._kind(batch[0].item))
            if not fits:
                kept.append(waiting)
            elif waiting.future.set_running_or_notify_cancel():
                batch.append(waiting)
        self._waiting = kept
        return batch

    def _work(self, batch: list[_Waiting[Item, Result]]) -> None:
        try:
            results = self._process([waiting.item for waiting in batch])
        except Exception as error:  # noqa: BLE001 it is raised again where the item came from
            if len(batch) == 1:
                batch[0].future.set_exception(typed(error, "the conversion"))
                return
            for waiting in batch:
                self._work([waiting])
            return
        for waiting, result in zip(batch, results, strict=True):
            waiting.future.set_result(result)
