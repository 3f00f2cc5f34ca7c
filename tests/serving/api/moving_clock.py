"""Time that tests let pass."""

from __future__ import annotations

import time
from types import ModuleType

import pytest


def moving_clock(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list[float]:
    """Seconds that have passed for what ``module`` remembers, beside those that do; tests add to it."""
    passed = [0.0]
    real = time.monotonic

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return real() + passed[0]

    monkeypatch.setattr(module, "time", Clock)
    return passed
