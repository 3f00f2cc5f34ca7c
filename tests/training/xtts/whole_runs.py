"""What whole runs leave, and waiting for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training.xtts.checkpoints import Checkpoint


def assert_close(one: Checkpoint, other: Checkpoint) -> None:
    assert one.facts.position.step == other.facts.position.step
    for name, tensor in other.weights.items():
        torch.testing.assert_close(one.weights[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come to pass"
        time.sleep(0.02)


def metrics(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
