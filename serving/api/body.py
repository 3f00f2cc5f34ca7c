"""A request body that is read while the answer is sent."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from serving.audio.pipe import BytePipe


class LiveBody:
    """Pumps the body of a request into ``pipe``. The one reader of ``receive`` from its start to ``close``."""

    def __init__(self, receive: Receive, pipe: BytePipe) -> None:
        self._receive, self._pipe = receive, pipe
        self._left = asyncio.Event()
        self._pumping = asyncio.create_task(self._pump())

    async def receive(self) -> Message:
        """For whoever waits until the client leaves: the body's messages are not for them."""
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def close(self) -> None:
        """Stop reading."""
        self._pipe.close()
        self._pumping.cancel()
        await asyncio.gather(self._pumping, return_exceptions=True)

    async def _pump(self) -> None:
        try:
            more = True
            while more:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                await self._pipe.write(message.get("body", b""))
                more = message.get("more_body", False)
            self._pipe.finish()
            while (await self._receive())["type"] != "http.disconnect":
                pass
            self._left.set()
        except ClientDisconnect as error:
            self._pipe.finish(error)
            self._left.set()
        except Exception as error:  # noqa: BLE001 - such as a body over its limit: the reader raises it
            self._pipe.finish(error)
