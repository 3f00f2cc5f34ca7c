"""The benchmark's clients that stop reading, against a small server."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from benchmarks.load_readers import Readers, ask, request
from tests.benchmarks.listening import listening


@asynccontextmanager
async def answering(*statuses: int) -> AsyncIterator[str]:
    """A server that gives these answers in turn, over and over, each with a body."""
    left = itertools.cycle(statuses)

    async def speak(_request: web.Request) -> web.Response:
        return web.Response(status=next(left), body=b"sound")

    async with listening(speak) as url:
        yield url


async def test_readers_that_are_refused_ask_again_until_all_stand_still() -> None:
    async with answering(200, 429) as url:
        readers = Readers(url)
        await readers.fill(3, request("A text.", "pcm"))
        try:
            assert len(readers.streams) == 3
            assert readers.refused
        finally:
            readers.close()


async def test_the_reading_client_is_timed_to_its_first_audio() -> None:
    async with answering(200) as url:
        firsts = await ask(url, 0.2)
    assert len(firsts) > 1
    assert all(0 < first < 5 for first in firsts)
