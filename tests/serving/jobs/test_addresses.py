import asyncio
import os
import socket
from threading import Event

import pytest

from serving.jobs.addresses import Unreachable, is_public, resolved


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "64:ff9b::101:101", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "100.100.100.200", "168.63.129.16", "224.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1%eth0",
        "fd00:ec2::254", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "64:ff9b::a9fe:a9fe",
        "fec0::1", "::7f00:1", "64:ff9b:1::a00:1", "::ffff:0:a00:1",
    ],
)  # fmt: skip
def test_addresses_inside_are_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "localhost", "::1"])
async def test_a_host_inside_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(Unreachable, match=r"jobs\.webhook_private"):
        await resolved(host, 443, private=False)
    assert set(await resolved(host, 443, private=True)) <= {"127.0.0.1", "::1"}


async def test_one_private_address_among_public_ones_is_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 443)) for each in ("1.1.1.1", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_names: entries)
    with pytest.raises(Unreachable, match="not public"):
        await resolved("example.com", 443, private=False)
    assert await resolved("example.com", 443, private=True) == ["1.1.1.1", "10.0.0.1"]


async def test_a_host_without_an_address_is_said_to_have_none() -> None:
    with pytest.raises(Unreachable, match="no address"):
        await resolved("nobody.invalid", 443, private=True)


async def test_names_that_nobody_answers_for_leave_threads_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = Event()

    def silent(*_args: object, **_names: object) -> list[object]:
        answered.wait(30)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    threads = min(32, (os.cpu_count() or 1) + 4)  # of asyncio.to_thread
    asked = [asyncio.create_task(resolved("silent.example", 443, private=False)) for _ in range(threads)]
    try:
        await asyncio.sleep(0)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 5) == "done"
    finally:
        answered.set()
        await asyncio.gather(*asked, return_exceptions=True)
