"""Drive an ASGI application message by message, as a server does, to see what leaves when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message

WAIT_S = 10.0


class Exchange:
    """One request, running as a task; the client stays until ``leave()``.

    ``body`` None is one that ``send`` brings. With ``spec_version`` 2.4 a server also raises OSError when the
    application sends to a client that has left.
    """

    def __init__(
        self,
        app: ASGIApp,
        method: str,
        path: str,
        *,
        body: bytes | None = b"",
        query: bytes = b"",
        headers: dict[bytes, bytes] | None = None,
        spec_version: str = "2.3",
    ) -> None:
        self.sent: list[Message] = []
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self._arrived = asyncio.Condition()
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        if body is not None:
            self._to_app.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self._gone = False
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": spec_version},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "root_path": "",
            "headers": list({b"host": b"test", **(headers or {})}.items()),
            "server": ("test", 80),
            "client": ("test", 1),
        }
        self.task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        await app(scope, self._to_app.get, self._send)

    async def _send(self, message: Message) -> None:
        if self._gone:
            raise OSError("the client has left")
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        async with self._arrived:
            self.sent.append(message)
            self._arrived.notify_all()

    @property
    def body(self) -> bytes:
        """All bytes of the response so far."""
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def complete(self) -> bool:
        """Whether the application has said that the body ends."""
        return bool(self.sent) and self.sent[-1]["type"] == "http.response.body" and not self.sent[-1].get("more_body")

    async def first_bytes(self) -> bytes:
        """Wait until bytes of the body have left; all of them so far."""
        async with asyncio.timeout(WAIT_S), self._arrived:
            await self._arrived.wait_for(lambda: self.body)
        return self.body

    async def send(self, body: bytes, *, more: bool = True) -> None:
        """The next piece of the body, or its last."""
        await self._to_app.put({"type": "http.request", "body": body, "more_body": more})

    async def leave(self, *, by_message: bool = True) -> None:
        """The client goes: the application can ``receive`` it, or with ``by_message`` false only its ``send`` fails."""
        self._gone = not by_message
        if by_message:
            await self._to_app.put({"type": "http.disconnect"})

    async def end(self) -> None:
        """Wait until the application is done with the request; raises what it raises."""
        async with asyncio.timeout(WAIT_S):
            await self.task


async def until(condition: Callable[[], object]) -> None:
    """Wait until something that has no event of its own is true."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def speech(app: ASGIApp, *, spec_version: str = "2.3", **fields: object) -> Exchange:
    """Begin POST /v1/audio/speech."""
    body = {"model": "tts-1", "input": "Hello.", "voice": "alloy", "response_format": "pcm", **fields}
    return Exchange(
        app,
        "POST",
        "/v1/audio/speech",
        body=json.dumps(body).encode(),
        headers={b"content-type": b"application/json"},
        spec_version=spec_version,
    )
