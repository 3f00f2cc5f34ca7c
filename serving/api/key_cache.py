"""Keys as one ingress remembers them: for so short that a revoked one ends everywhere within seconds."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict

from serving.store.api_keys import ApiKey, ApiKeyStore

TTL_S = 2.0
"""Age at which the database is asked again, for keys that there are and for those that there are not."""

SIZE = 10_000
"""Most keys remembered; guesses push out other keys, which then are asked for again."""


class KeyCache:
    """Asks ``keys`` once for all requests that come with a key at the same time."""

    def __init__(self, keys: ApiKeyStore, ttl_s: float = TTL_S) -> None:
        self._keys, self._ttl_s = keys, ttl_s
        self._found: OrderedDict[bytes, tuple[float, asyncio.Task[ApiKey | None]]] = OrderedDict()
        self._exist = False
        self._exist_until = 0.0

    async def find(self, text: str) -> ApiKey | None:
        """The key that ``text`` is; raises what the database raises."""
        name = hashlib.sha256(text.encode()).digest()  # no keys in memory for longer than a request
        until, asking = self._found.get(name, (0.0, None))
        if asking is None or time.monotonic() >= until:
            asking = asyncio.create_task(asyncio.to_thread(self._keys.find, text))
            asking.add_done_callback(_seen)
            self._found[name] = (time.monotonic() + self._ttl_s, asking)
            self._found.move_to_end(name)
            if len(self._found) > SIZE:
                self._found.popitem(last=False)
        try:
            return await asyncio.shield(asking)
        except BaseException:
            if asking.done() and self._found.get(name, (0.0, None))[1] is asking:
                del self._found[name]
            raise

    async def exist(self) -> bool:
        """Whether any key was ever made: once one was, that stays so."""
        if not self._exist and time.monotonic() >= self._exist_until:
            until = time.monotonic() + self._ttl_s
            self._exist = await asyncio.to_thread(self._keys.exist)
            self._exist_until = until
        return self._exist


def _seen(asking: asyncio.Task[ApiKey | None]) -> None:
    """An error is for those who wait, if any still do."""
    if not asking.cancelled():
        asking.exception()
