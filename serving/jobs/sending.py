"""One message to a webhook: signed as https://www.standardwebhooks.com says, to an address that was checked."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Mapping

import httpx2

from serving.jobs.addresses import Unreachable, resolved
from serving.store.webhooks import Message

TIMEOUT_S = 15.0
"""For one attempt, from the name's resolution to the answer's status."""

ADDRESSES = 3
"""Most addresses of a host that one attempt tries."""

GONE = 410
"""The answer of a receiver that wants no more, by the specification."""


class NotDelivered(Exception):
    """An attempt failed, as its text says in words that may be shown; ``final`` where there is no use in another."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


def signed(message: Message, at: int) -> Mapping[str, str]:
    """The headers of an attempt at Unix second ``at``."""
    content = f"{message.id}.{at}.{message.payload}".encode()
    signature = hmac.new(key_of(message.secret), content, hashlib.sha256).digest()
    return {
        "webhook-id": message.id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }


def key_of(secret: str) -> bytes:
    """The bytes that a ``whsec_`` secret stands for."""
    return base64.b64decode(secret.removeprefix("whsec_"))


async def send(message: Message, client: httpx2.AsyncClient, *, private: bool) -> None:
    """Deliver ``message``; raises NotDelivered. ``private`` lets it go to any address, and without TLS."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            status = await _status(message, client, private=private)
    except TimeoutError:
        raise NotDelivered(f"it did not answer within {TIMEOUT_S:g} s") from None
    except Unreachable as error:
        raise NotDelivered(str(error)) from None
    except httpx2.ConnectError as error:  # its cause may name the URL, so it is not kept
        raise NotDelivered(f"no connection: {_plain(error)}") from None
    except Exception as error:  # noqa: BLE001 - nor may one odd message end the loop
        raise NotDelivered(f"the request failed: {type(error).__name__}") from None
    if 300 <= status < 400:
        raise NotDelivered(f"it answered {status}; redirects are not followed")
    if not 200 <= status < 300:
        raise NotDelivered(f"it answered {status}", final=status == GONE)


def new_client() -> httpx2.AsyncClient:
    """A client that keeps no connections, follows nothing, and asks no proxy, which would resolve names again."""
    limits = httpx2.Limits(max_keepalive_connections=0)  # a connection is to an address, and may serve one name only
    return httpx2.AsyncClient(
        transport=httpx2.AsyncHTTPTransport(limits=limits), timeout=None, trust_env=False, follow_redirects=False
    )


async def _status(message: Message, client: httpx2.AsyncClient, *, private: bool) -> int:
    url = httpx2.URL(message.url)
    if url.scheme != "https" and not private:
        raise Unreachable("it is not https, which jobs.webhook_private would allow")
    host = url.raw_host.decode("ascii")
    port = url.port or (443 if url.scheme == "https" else 80)
    addresses = (await resolved(host, port, private=private))[:ADDRESSES]
    while True:
        address = addresses.pop(0)
        try:
            return await _post(message, client, url, host, address)
        except httpx2.ConnectError:
            if not addresses:
                raise


async def _post(message: Message, client: httpx2.AsyncClient, url: httpx2.URL, host: str, address: str) -> int:
    """The status of the answer from ``address``; of its body nothing is read."""
    headers = {
        "host": url.netloc.decode("ascii"),
        "content-type": "application/json",
        "user-agent": "kubevoice",
        **signed(message, int(time.time())),
    }
    request = client.build_request(
        "POST",
        url.copy_with(host=address),
        content=message.payload.encode(),
        headers=headers,
        extensions={"sni_hostname": host},  # the certificate has to be of the name, though we connect to the address
    )
    answer = await client.send(request, stream=True)
    try:
        return answer.status_code
    finally:
        await answer.aclose()


def _plain(error: Exception) -> str:
    text = str(error)
    return "its certificate is not accepted" if "CERTIFICATE_VERIFY" in text else "refused, or cut"
