"""Which addresses a client's URL may lead to: not those of the cluster, the machine, or a cloud's metadata."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor

NAT64 = ipaddress.ip_network("64:ff9b::/96")
UNICAST = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is the internet; what lies outside, such as fec0::/10, is not all known to ``is_global``."""

AZURE = ipaddress.ip_address("168.63.129.16")
"""Public by its number, but the virtual machine's own host; learn.microsoft.com, "What is IP address 168.63.129.16"."""

RESOLVERS = ThreadPoolExecutor(64, thread_name_prefix="resolve")
"""Threads for names only: one that nobody answers for holds its thread for half a minute, and must not hold others.

Half a minute is two attempts long, and one tenant has at most half of the 32 places of ``serving.jobs.telling``: it
cannot have all threads either.
"""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Unreachable(Exception):
    """There is no address that may be used; says why."""


async def resolved(host: str, port: int, *, private: bool) -> list[str]:
    """The addresses of ``host``, which may be one itself; all public, unless ``private``. Raises Unreachable."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.run_in_executor(RESOLVERS, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        raise Unreachable("its host has no address") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not private and not all(map(is_public, addresses)):
        raise Unreachable("its host has an address that is not public, which jobs.webhook_private would allow")
    return addresses


def is_public(text: str) -> bool:
    """Whether ``text`` is an address of the internet at large, also where it carries another one."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and (inner := _carried(address)) is not None:
        address = inner
    if isinstance(address, ipaddress.IPv6Address) and address not in UNICAST:
        return False
    return address.is_global and not address.is_multicast and address != AZURE


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
