"""A client that stops reading, on a real socket of uvicorn's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from serving.deployments.front import FrontDoor
from serving.deployments.stalled import CutStalled, middlewares

PIECE = b"x" * 65536


class Endless:
    """Sends until the client has left, like Ray Serve's proxy: what says so is ``receive``."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # the request itself
        leaving: asyncio.Task[Message] = asyncio.create_task(receive())  # type: ignore[arg-type]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not leaving.done():
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            await asyncio.sleep(0)
        assert leaving.result()["type"] == "http.disconnect"
        self.left.set()


@asynccontextmanager
async def sending(app: Endless, seconds: float) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client of ``app`` behind the middleware, which has sent its request."""
    config = uvicorn.Config(CutStalled(app, seconds), log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        running = asyncio.create_task(server.serve([listening]))
        reader, writer = await asyncio.open_connection(*listening.getsockname(), limit=4096)
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            yield reader, writer
        finally:
            writer.transport.abort()
            server.should_exit = True
            await running


async def test_a_client_that_stops_reading_has_left_after_the_settings_time() -> None:
    app = Endless()
    async with sending(app, 0.5) as (reader, _writer):
        await reader.readexactly(1)
        async with asyncio.timeout(30):
            await app.left.wait()


async def test_a_client_that_reads_slowly_stays() -> None:
    app = Endless()
    async with sending(app, 2.0) as (reader, _writer):
        for _ in range(30):
            assert await reader.read(4 * len(PIECE))
            await asyncio.sleep(0.1)
        assert not app.left.is_set()


def test_ray_serve_is_given_the_nodes_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEVOICE_LIMITS__STALLED_CLIENT_S", "7")
    inner, outermost = middlewares()
    assert (repr(inner.cls), repr(outermost.cls)) == (repr(FrontDoor), repr(CutStalled))
    assert outermost.kwargs == {"seconds": 7.0}
