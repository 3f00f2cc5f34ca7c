"""A socket whose key is looked at again with every text that comes: what was revoked does not speak on."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Send

from serving.api.elevenlabs.messages import failure
from serving.errors import Forbidden, KubevoiceError, Unauthenticated

POLICY = 1008
"""Close code (RFC 6455) of a socket that may not be used."""


class WatchedSocket:
    """``receive`` and ``send`` of a socket; ``check`` raises once its key works no more."""

    def __init__(self, receive: Receive, send: Send, check: Callable[[], Awaitable[object]]) -> None:
        self._receive, self._send, self._check = receive, send, check
        self._closed = False

    async def receive(self) -> Message:
        """The next message; to the application a refused client is one that has left."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            return message
        try:
            await self._check()
        except (Unauthenticated, Forbidden) as error:
            self._closed = True
            await self._send({"type": "websocket.send", "text": json.dumps(failure(error.message, error.code))})
            await self._send({"type": "websocket.close", "code": POLICY, "reason": error.code})
            return {"type": "websocket.disconnect", "code": POLICY, "reason": error.code}
        except KubevoiceError:
            return message  # a database that is away does not cut who was let in
        return message

    async def send(self, message: Message) -> None:
        """Nothing, once the socket is closed."""
        if not self._closed:
            await self._send(message)
