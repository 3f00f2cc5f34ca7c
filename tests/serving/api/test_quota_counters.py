"""Counters in this process and in a real Redis; and what happens when that is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace

import pytest

from serving.api.quota_counters import Counter, Counters, Used
from serving.metrics import LocalMetrics
from tests.serving.api.redis_server import RedisServer, running_redis

Open = Callable[[str | None], Counters]

redis_server = pytest.fixture(scope="module")(running_redis)
MINUTE = Counter("tenant/acme/requests_per_minute", 60)


@pytest.fixture(params=["memory", "redis"])
def redis_url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "memory":
        return None
    server: RedisServer = request.getfixturevalue("redis_server")
    server.empty()
    return server.url


@pytest.fixture
async def counters(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    monkeypatch.setattr("serving.api.quota_counters.TIMEOUT_S", 20.0)  # a machine that runs other tests is slow
    opened: list[Counters] = []

    def open_counters(url: str | None) -> Counters:
        opened.append(Counters(LocalMetrics(), url))
        return opened[-1]

    yield open_counters
    for each in opened:
        await each.close()


async def test_of_a_burst_exactly_as_many_pass_as_the_limit_says(counters: Open, redis_url: str | None) -> None:
    found = counters(redis_url)
    passed = await asyncio.gather(*(found.hit(MINUTE, 7, 1) for _ in range(50)))
    assert sum(passed) == 7
    assert (await found.used(MINUTE)).count == 7


async def test_of_large_costs_each_passes_whole_or_not_at_all(counters: Open, redis_url: str | None) -> None:
    found = counters(redis_url)
    passed = await asyncio.gather(*(found.hit(MINUTE, 1000, 300) for _ in range(50)))
    assert (sum(passed), (await found.used(MINUTE)).count) == (3, 900)
    assert await found.hit(MINUTE, 1000, 100)
    assert not await found.hit(MINUTE, 1000, 1)


async def test_what_is_given_back_can_be_used_again(counters: Open, redis_url: str | None) -> None:
    found = counters(redis_url)
    assert await found.hit(MINUTE, 10, 10)
    await found.give_back(MINUTE, 4)
    assert [await found.hit(MINUTE, 10, 4), await found.hit(MINUTE, 10, 1)] == [True, False]


async def test_more_than_this_window_has_is_not_given_back(counters: Open, redis_url: str | None) -> None:
    found = counters(redis_url)
    await found.give_back(MINUTE, 10)
    assert await found.hit(MINUTE, 10, 3)
    await found.give_back(MINUTE, 10)
    assert (await found.used(MINUTE)).current == 0
    assert not await found.hit(MINUTE, 10, 11)


async def test_what_is_given_back_a_window_later_is_no_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    minute = 1_000_000_020.0
    now = [minute + 59]
    monkeypatch.setattr("limits.aio.storage.memory.time", SimpleNamespace(time=lambda: now[0]))
    found = Counters(LocalMetrics())
    assert await found.hit(MINUTE, 10, 10)
    now[0] = minute + 61
    await found.give_back(MINUTE, 10)
    now[0] = minute + 118
    assert [await found.hit(MINUTE, 10, 9), await found.hit(MINUTE, 10, 9)] == [True, False]


async def test_what_was_used_afterwards_may_be_more_than_the_limit(counters: Open, redis_url: str | None) -> None:
    found = counters(redis_url)
    await found.add(MINUTE, 25)
    assert (await found.used(MINUTE)).count == 25
    assert not await found.hit(MINUTE, 10, 1)


async def test_a_raised_limit_goes_on_with_what_was_counted(counters: Open, redis_url: str | None) -> None:
    found = counters(redis_url)
    assert await found.hit(MINUTE, 5, 5)
    assert [await found.hit(MINUTE, 8, 4), await found.hit(MINUTE, 8, 3)] == [False, True]


async def test_all_replicas_count_together_in_redis(counters: Open, redis_server: RedisServer) -> None:
    redis_server.empty()
    replicas = [counters(redis_server.url) for _ in range(3)]
    passed = await asyncio.gather(*(replicas[n % 3].hit(MINUTE, 7, 1) for n in range(50)))
    assert sum(passed) == 7


async def test_a_counter_ends_by_itself_in_redis(counters: Open, redis_server: RedisServer) -> None:
    redis_server.empty()
    second = Counter("tenant/acme/short", 1)
    found = counters(redis_server.url)
    assert await found.hit(second, 3, 3)
    used = await found.used(second)
    assert 0 < used.wait_s(2) <= used.reset_s <= 2
    await asyncio.sleep(used.wait_s(0) + 0.1)
    assert await found.hit(second, 3, 3)


async def test_without_redis_nothing_is_refused_and_little_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    metrics = LocalMetrics()
    found = Counters(metrics, "redis://127.0.0.1:1/0")
    with caplog.at_level(logging.WARNING):
        assert all([await found.hit(MINUTE, 1, 1) for _ in range(5)])
        await found.add(MINUTE, 5)
        assert await found.used(MINUTE) == Used(60)
    assert len([each for each in caplog.records if "Redis does not answer" in each.message]) == 1, "asked once"
    assert b'kubevoice_quotas_uncounted_total{store="redis"} 7.0' in await metrics.render()


async def test_a_redis_that_takes_connections_and_says_nothing_is_away_too(
    counters: Open, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.api.quota_counters.TIMEOUT_S", 0.2)
    done = asyncio.Event()

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    silent = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    found = counters(f"redis://127.0.0.1:{port}")
    assert await found.hit(MINUTE, 1, 1)
    assert await found.hit(MINUTE, 1, 1)
    assert "Redis does not answer" in caplog.text
    assert not done.is_set()
    done.set()
    silent.close()


async def test_redis_counts_again_once_it_is_back(
    counters: Open, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.empty()
    monkeypatch.setattr("serving.api.quota_counters.AWAY_S", 0.0)
    found = counters(redis_server.url)
    assert await found.hit(MINUTE, 1, 1)
    redis_server.stop()
    assert await found.hit(MINUTE, 1, 1)
    redis_server.start()
    assert [await found.hit(MINUTE, 1, 1), await found.hit(MINUTE, 1, 1)] == [True, False]


@pytest.mark.parametrize(
    ("used", "room", "wait"),
    [
        (Used(60), 0, 0.0),
        (Used(60, 0, 0.0, 5, 90.0), 5, 0.0),
        (Used(60, 10, 60.0), 4, 30.0),  # 10 * 30 / 60 = 5, of which then only 4 are whole
        (Used(60, 10, 30.0, 2, 90.0), 4, 12.0),  # 2 + 10 * 18 / 60 = 5
        (Used(60, 10, 30.0, 8, 90.0), 4, 52.5),  # the window ends in 30 s; 8 * 37.5 / 60 = 5
        (Used(60, 0, 0.0, 8, 120.0), 0, 112.5),
    ],
)
def test_how_long_to_wait_is_when_there_is_room(used: Used, room: int, wait: float) -> None:
    assert used.wait_s(room) == pytest.approx(wait)


async def test_after_the_wait_there_is_room_and_before_it_there_is_not(
    counters: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000_017.0
    monkeypatch.setattr("limits.aio.storage.memory.time", SimpleNamespace(time=lambda: now))
    found = counters(None)
    assert await found.hit(MINUTE, 10, 10)
    wait = (await found.used(MINUTE)).wait_s(10 - 4)
    now += wait - 1
    assert not await found.hit(MINUTE, 10, 4)
    now += 2
    assert await found.hit(MINUTE, 10, 4)
