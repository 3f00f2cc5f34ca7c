"""Clients of the load benchmark, in a process of their own: what they see is timed from when a request was due.

    python -m benchmarks.load_client < plan.json > outcomes.json

A plan is ``{"url", "body", "due": [seconds from the start], "timeout_s"}``: every request is sent at its time whatever
became of those before, so a server that answers late cannot make its load lighter (coordinated omission).
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp


@dataclass
class Outcome:
    """One request: seconds from when it was due. ``status`` 0 is no answer; ``late_s`` is how late it was sent."""

    due_s: float
    late_s: float = 0.0
    status: int = 0
    first_s: float | None = None
    end_s: float | None = None
    hung: bool = False
    retry_after: str | None = None


async def run(plan: dict[str, Any]) -> list[Outcome]:
    """Send everything, and wait until the last is answered or was given up."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # real clients do not share connections
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        began = time.perf_counter() + 0.1
        return await asyncio.gather(*(_request(session, plan, began, due) for due in plan["due"]))


async def _request(session: aiohttp.ClientSession, plan: dict[str, Any], began: float, due: float) -> Outcome:
    outcome = Outcome(due)
    start = began + due
    await asyncio.sleep(max(0.0, start - time.perf_counter()))
    outcome.late_s = time.perf_counter() - start
    try:
        async with asyncio.timeout(plan["timeout_s"]):
            async with session.post(f"{plan['url']}/v1/audio/speech", json=plan["body"]) as answer:
                outcome.retry_after = answer.headers.get("Retry-After")
                async for _ in answer.content.iter_any():
                    outcome.first_s = outcome.first_s or time.perf_counter() - start
                outcome.status = answer.status
                outcome.end_s = time.perf_counter() - start
    except TimeoutError:
        outcome.hung = True
    except (aiohttp.ClientError, OSError):
        outcome.status = 0
    return outcome


def p95(values: list[float]) -> float:
    """The 95th percentile; 0 of nothing."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else sum(values)


if __name__ == "__main__":
    json.dump([asdict(outcome) for outcome in asyncio.run(run(json.load(sys.stdin)))], sys.stdout)
