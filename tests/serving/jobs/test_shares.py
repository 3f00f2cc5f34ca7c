"""How many of the places one tenant, or one receiver, may hold."""

from __future__ import annotations

from contextlib import ExitStack

from serving.jobs.shares import Shares
from serving.store.webhooks import Full, Message


def message(tenant: str, receiver: str = "example.com:443") -> Message:
    return Message("msg_1", "job-1", tenant, receiver, "lease", f"https://{receiver}", "whsec_", "{}", 0)


def fill(shares: Shares, tenants: str, held: ExitStack) -> dict[str, int]:
    """Give each tenant, whose receiver is its own, in turn a place until none may have another; what each has."""
    got = dict.fromkeys(tenants, 0)
    while free := [each for each in tenants if each not in shares.full.tenants]:
        for tenant in free:
            if tenant not in shares.full.tenants:
                held.enter_context(shares.held(message(tenant, f"{tenant}.example:443")))
                got[tenant] += 1
    return got


def test_one_has_half_two_a_third_each_and_a_newcomer_is_never_refused() -> None:
    with ExitStack() as held:
        assert fill(Shares(32), "a", held) == {"a": 16}
        shares = Shares(32)
        assert fill(shares, "ab", held) == {"a": 11, "b": 11}
        assert "c" not in shares.full.tenants
    with ExitStack() as held:
        shares = Shares(32)
        many = fill(shares, "abcdefghijklmnopqrstuvwxyz", held)
        assert min(many.values()) >= 1
        assert sum(many.values()) < 32


def test_tenants_that_send_to_one_receiver_share_its_places() -> None:
    shares = Shares(8)
    with ExitStack() as held:
        for tenant in "abcd":
            assert not shares.full.receivers
            held.enter_context(shares.held(message(tenant)))
        assert shares.full == Full(frozenset(), frozenset({"example.com:443"}))


def test_what_is_given_back_is_free_again_also_after_a_failure() -> None:
    shares = Shares(2)
    try:
        with shares.held(message("a")):
            assert shares.full == Full(frozenset("a"), frozenset({"example.com:443"}))
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert shares.full == Full()
