"""Signs of life between a replica and its caller, with times of a tenth of a second instead of a minute."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import grpc  # type: ignore[import-untyped]
import numpy as np
import pytest
from ray.exceptions import ActorUnavailableError

from serving.deployments.alive import Heard, with_signs
from serving.engines.base import SpeechChunk

CHUNK = SpeechChunk(np.zeros(10, np.float32), 24000)


class Engine:
    """Makes a chunk after each of ``pauses``, in seconds."""

    def __init__(self, *pauses: float) -> None:
        self.pauses = pauses
        self.closed = False

    async def chunks(self) -> AsyncGenerator[SpeechChunk, None]:
        try:
            for pause in self.pauses:
                await asyncio.sleep(pause)
                yield CHUNK
        finally:
            self.closed = True


async def test_a_replica_says_at_once_that_it_has_begun_and_then_its_chunks() -> None:
    engine = Engine(0, 0)
    assert [item async for item in with_signs(engine.chunks())] == [None, CHUNK, CHUNK]
    assert engine.closed


async def test_a_replica_that_works_for_long_says_so_and_loses_no_chunk() -> None:
    said = [item async for item in with_signs(Engine(0.5, 0).chunks(), every_s=0.1)]
    assert said.count(None) >= 3
    assert [item for item in said if item is not None] == [CHUNK, CHUNK]


async def test_a_caller_that_leaves_while_the_engine_works_stops_it() -> None:
    engine = Engine(3600)
    signs = with_signs(engine.chunks(), every_s=0.05)
    assert [await anext(signs), await anext(signs)] == [None, None]
    await signs.aclose()
    assert engine.closed


async def test_the_engines_failure_is_the_callers() -> None:
    async def failing() -> AsyncGenerator[SpeechChunk, None]:
        yield CHUNK
        raise ValueError("boom")

    heard = Heard(with_signs(failing()))
    assert await heard.next() == CHUNK
    with pytest.raises(ValueError, match="boom"):
        await heard.next()


async def test_a_caller_hears_chunks_and_not_the_signs() -> None:
    heard = Heard(with_signs(Engine(0.3, 0).chunks(), every_s=0.05), silent_s=0.2)
    assert [await heard.next(), await heard.next(), await heard.next()] == [CHUNK, CHUNK, None]


class Silent:
    """A call that says ``first`` and then nothing, for ever or until ``late_s`` are over."""

    def __init__(self, first: int, late_s: float = 3600) -> None:
        self.first, self.late_s = first, late_s

    async def items(self) -> AsyncIterator[SpeechChunk | None]:
        for _ in range(self.first):
            yield None
        await asyncio.sleep(self.late_s)
        yield CHUNK


async def test_a_replica_that_has_begun_and_falls_silent_is_gone() -> None:
    with pytest.raises(ActorUnavailableError, match="said nothing"):
        await Heard(Silent(1).items(), silent_s=0.1).next()


async def test_a_call_that_waits_for_a_replica_is_not_silent() -> None:
    assert await Heard(Silent(0, late_s=0.4).items(), silent_s=0.1).next() == CHUNK


class Broken:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __aiter__(self) -> Broken:
        return self

    async def __anext__(self) -> SpeechChunk | None:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), "at 10.0.0.7"),
        asyncio.CancelledError(),
    ],
    ids=["the call broke", "the replica cancelled it"],
)
async def test_a_call_that_ends_for_reasons_of_the_replica_is_a_replica_that_is_gone(error: BaseException) -> None:
    with pytest.raises(ActorUnavailableError) as failure:
        await Heard(Broken(error)).next()
    assert "10.0.0.7" not in str(failure.value)


async def test_a_timeout_that_the_engine_raised_is_its_failure_and_no_silence() -> None:
    with pytest.raises(TimeoutError, match="the engine's"):
        await Heard(Broken(TimeoutError("the engine's"))).next()


async def test_a_caller_that_is_cancelled_is_cancelled() -> None:
    waiting = asyncio.create_task(Heard(Silent(0).items()).next())
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
