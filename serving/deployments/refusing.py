"""What an ingress replica would refuse for want of room, refused before it reaches the application."""

from __future__ import annotations

import dataclasses

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.context import Context
from serving.api.middleware import REFUSED, RequestLog, speaks


class Refusals:
    """Answers what the engine behind ``app`` has no room for as ``app`` would, with its log line and metrics.

    It runs in the HTTP server's thread, beside the application's, and shares nothing with it that both write.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._context: Context = app.state.context
        own = dataclasses.replace(self._context)  # with a count of its own of requests in progress
        self._log = RequestLog(_nothing, own)

    async def answer_or_pass(self, scope: Scope, receive: Receive, send: Send, inner: ASGIApp) -> None:
        """Refuse a request for speech where there is no room; ``inner`` has every other one.

        So it has all while the replica stops, which it says itself, and those of a web page's script, which reads an
        answer only with the headers of CORS.
        """
        speech = scope["type"] == "http" and speaks(scope)
        if not speech or self._context.draining or "origin" in Headers(scope=scope):
            await inner(scope, receive, send)
            return
        with self._context.engine.entering() as refused:
            if refused is None:
                await inner(scope, receive, send)
            else:
                await self._log({**scope, "app": self._app, REFUSED: refused}, receive, send)


async def _nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("a request that is refused goes no further")
