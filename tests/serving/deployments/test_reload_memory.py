"""What models leave behind when others have taken their place."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from serving.deployments import swapping
from serving.engines.memory import give_back
from tests.serving.deployments.revisions import SHORT, heard, request
from tests.serving.deployments.test_reload import KIND, NAME, Replica, cut

WARM = 3
MOST_MB = 48
"""Less than one tiny model; what malloc has in hand changes by half of that from one load to the next."""


def memory() -> tuple[float, int]:
    """Megabytes of this process that no file backs, and objects that Python's collector knows."""
    gc.collect()
    give_back()
    found = psutil.Process().memory_info()
    return (found.rss - found.shared) / 2**20, len(gc.get_objects())


def swaps(directory: Path, count: int) -> dict[str, float]:
    """Promote ``count`` times while the replica speaks, every third time what it cannot load; what that leaves."""
    swapping.LINGER_S = 0.0
    return asyncio.run(_swaps(directory, count))


async def _swaps(directory: Path, count: int) -> dict[str, float]:
    replica = Replica(directory)
    await replica.start()
    replica.publish("r2")
    for revision, change in (("r3", None), ("torn", cut)):
        replica.publish(revision, "r1", change)
    size, objects = 0.0, 0
    for number in range(WARM + count):
        if number == WARM:
            size, objects = memory()
        replica.models.promote(KIND, NAME, ("r2", "r3", "torn")[number % 3])
        begun = replica.engine.stream(request(SHORT))
        await anext(begun)
        await replica.reloader.look()
        await begun.aclose()
        assert len(await heard(replica.engine, request(SHORT)))
        await replica.reloader.look()
    assert await replica.engine.tidy(at_once=True)
    failed, loaded = [await replica.loads(outcome) for outcome in ("failed", "loaded")]
    size_after, objects_after = memory()
    await replica.engine.close()
    return {"mb": size_after - size, "objects": objects_after - objects, "failed": failed, "loaded": loaded}


def found_apart(directory: Path, count: int) -> dict[str, float]:
    """What ``swaps`` finds in a process of its own, in which no other test has left anything."""
    code = f"from {__name__} import *; print(json.dumps(swaps(Path({str(directory)!r}), {count})))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=1800)
    left: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return left


@pytest.mark.parametrize("count", [3, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_models_that_were_replaced_leave_no_memory_behind(count: int, tmp_path: Path) -> None:
    left = found_apart(tmp_path, count)
    assert left["failed"] >= count // 3
    assert left["loaded"] >= count // 2
    assert left["objects"] < 500  # an engine has thousands
    assert left["mb"] < MOST_MB
