"""Clients that ask for audio and stop reading are cut: what they leave unread would stay in memory for ever."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.deployments.front import FrontDoor
from serving.settings import load_settings

logger = logging.getLogger(__name__)


class CutStalled:
    """ASGI middleware that ends the connection of a client that took nothing of a response for ``seconds``.

    The HTTP server holds ``send`` up while its buffer (64 KiB, before the kernel's) is full. To the application the
    client has left. Inside the application this would see nothing: Ray Serve never holds the ingress's ``send`` up.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._seconds):
                    await send(message)
            except TimeoutError:
                logger.warning("a client that took nothing for %g s is cut: %s", self._seconds, scope["path"])
                _abort(send)

        await self.app(scope, receive, send_in_time)


def _abort(send: Send) -> None:
    """Drop the connection behind uvicorn's ``send``. Closing it would wait until the client has read what is left."""
    cycle: Any = getattr(send, "__self__", None)
    assert cycle is not None, "this middleware has to be the outermost one: around uvicorn's own send"
    cycle.transport.abort()


def middlewares() -> list[Middleware]:
    """What Ray Serve puts around its HTTP server: the proxy's or, behind HAProxy, the ingress replica's.

    ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`` names this function on every node. The setting is the environment's.
    """
    # The last one is the outermost.
    return [Middleware(FrontDoor), Middleware(CutStalled, seconds=load_settings().limits.stalled_client_s)]
