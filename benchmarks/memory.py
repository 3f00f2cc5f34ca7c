"""How much memory something takes at its peak."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil
import torch

EVERY_S = 0.02


class PeakMemory:
    """While entered: how far this process's unshared resident memory, or on a GPU torch's allocations, grew at most."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._before = self._peak = 0

    @property
    def mb(self) -> float:
        """Megabytes (10**6 bytes)."""
        return (self._peak - self._before) / 1e6

    def __enter__(self) -> Self:
        self._before = self._peak = self._now()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._device.type == "cuda":
            self._peak = torch.cuda.max_memory_allocated(self._device)
        else:
            self._ended.set()
            self._thread.join()

    def _now(self) -> int:
        if self._device.type == "cuda":
            return int(torch.cuda.memory_allocated(self._device))
        memory = psutil.Process().memory_info()
        return int(memory.rss - memory.shared)  # pages of files can be dropped

    def _watch(self) -> None:
        while not self._ended.wait(EVERY_S):
            self._peak = max(self._peak, self._now())
