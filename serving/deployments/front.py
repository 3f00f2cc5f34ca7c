"""The first of an ingress replica that sees a request.

Behind HAProxy a replica has its own HTTP server, and between that and the application lies most of what a request
costs: Serve's bookkeeping and another thread. Under overload nearly all requests are refused, so that is what decides
how many a replica can refuse before those that it has accepted have to wait for it.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send


class Refuses(Protocol):
    """`serving.deployments.refusing`, which Serve's proxy need not import."""

    async def answer_or_pass(self, scope: Scope, receive: Receive, send: Send, inner: ASGIApp) -> None: ...


class FrontDoor:
    """ASGI middleware that gives requests to ``refusals`` first, which this process's ingress replica sets.

    In Serve's own proxy, which is another process, there are none: everything goes through.
    """

    refusals: ClassVar[Refuses | None] = None

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if FrontDoor.refusals is None:
            await self.app(scope, receive, send)
        else:
            await FrontDoor.refusals.answer_or_pass(scope, receive, send, self.app)
