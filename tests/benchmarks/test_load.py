"""The load benchmark's generator against a small server of known behaviour, and its figures."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from benchmarks import load_client
from benchmarks.load import FIGURES, Stage, arrivals, result
from benchmarks.load_client import Outcome, p95
from tests.benchmarks.listening import listening


@asynccontextmanager
async def answering(*statuses: int) -> AsyncIterator[str]:
    """A server that gives these answers in turn; 0 is one that never comes."""
    left = iter(statuses)

    async def speak(_request: web.Request) -> web.Response:
        status = next(left)
        if not status:
            await asyncio.sleep(3600)
        return web.Response(status=status, body=b"sound", headers={"Retry-After": "3"} if status == 429 else None)

    async with listening(speak) as url:
        yield url


async def test_every_request_has_an_outcome_also_one_without_an_answer() -> None:
    async with answering(200, 429, 0) as url:
        plan = {"url": url, "body": {}, "due": [0.0, 0.3, 0.6], "timeout_s": 2.0}
        spoken, refused, hung = await load_client.run(plan)
    assert (spoken.status, spoken.hung) == (200, False)
    assert spoken.first_s is not None
    assert (refused.status, refused.retry_after) == (429, "3")
    assert (hung.status, hung.hung, hung.end_s) == (0, True, None)


async def test_a_request_is_sent_though_the_one_before_has_no_answer() -> None:
    async with answering(0, 200) as url:
        plan = {"url": url, "body": {}, "due": [0.0, 0.3], "timeout_s": 2.0}
        hung, spoken = await load_client.run(plan)
    assert (hung.hung, spoken.status) == (True, 200)


async def test_a_server_that_is_gone_is_a_failure_and_not_a_refusal() -> None:
    async with answering() as url:
        pass
    (outcome,) = await load_client.run({"url": url, "body": {}, "due": [0.0], "timeout_s": 2.0})
    assert (outcome.status, outcome.hung) == (0, False)
    assert Stage(1.0, 1.0, [outcome], 0.0).failed == 1


def test_requests_arrive_at_the_rate_that_was_asked_for_and_not_in_step() -> None:
    due = arrivals(50.0, 100.0)
    assert len(due) == pytest.approx(5000, rel=0.1)
    assert due == sorted(due)
    assert len({round(later - sooner, 3) for sooner, later in itertools.pairwise(due)}) > 20


def spoken(first_s: float) -> Outcome:
    return Outcome(0.0, status=200, first_s=first_s, end_s=first_s + 1.0)


def test_the_figures_compare_the_heaviest_stage_with_the_one_at_capacity() -> None:
    one = Stage(2.0, 10.0, [spoken(0.5)] * 20, 0.0)
    refused = [Outcome(0.0, status=429, end_s=0.02)] * 50
    ten = Stage(20.0, 10.0, [spoken(0.6)] * 18 + refused + [Outcome(0.0, hung=True)], 3.0)
    figures = result(2.0, {1.0: one, 10.0: ten})
    assert {name: figures[name] for name in FIGURES} == {
        "accepted_p95_ratio_10x": 1.2,
        "refused_p95_ms": 20.0,
        "hung": 1,
        "throughput_ratio_10x": 0.9,
    }
    assert figures["failed"] == 0


@pytest.mark.parametrize(("values", "expected"), [([], 0.0), ([3.0], 3.0), ([float(n) for n in range(101)], 95.0)])
def test_a_percentile_of_few_values_is_one(values: list[float], expected: float) -> None:
    assert p95(values) == pytest.approx(expected)
