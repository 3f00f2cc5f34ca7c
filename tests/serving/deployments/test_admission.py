"""The gate in front of the speech replicas, on a clock that stands still unless it is moved."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from serving.deployments.admission import ENTERING_S, MOST_RETRY_S, Gate
from serving.errors import Overloaded


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Crowd:
    """Requests that come through a gate, and are heard in their order."""

    def __init__(self, gate: Gate, clock: Clock) -> None:
        self.gate, self.clock = gate, clock
        self.waiting: list[ExitStack] = []

    def come(self, count: int) -> int:
        """How many of ``count`` were let in."""
        before = len(self.waiting)
        for _ in range(count):
            stack = ExitStack()
            try:
                stack.enter_context(self.gate.waiting("speech"))
            except Overloaded:
                continue
            self.waiting.append(stack)
        return len(self.waiting) - before

    def hear(self, count: int, every_s: float) -> None:
        for _ in range(count):
            self.clock.now += every_s
            self.waiting.pop(0).close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def gate(clock: Clock, most: int = 64, always: int = 4, max_wait_s: float = 2.0) -> Gate:
    return Gate(most, always, max_wait_s, clock)


def test_a_gate_that_has_measured_nothing_lets_the_most_in(clock: Clock) -> None:
    assert Crowd(gate(clock), clock).come(100) == 64


def test_as_many_may_wait_as_are_heard_in_the_longest_wait(clock: Clock) -> None:
    crowd = Crowd(gate(clock), clock)
    crowd.come(64)
    crowd.hear(60, every_s=0.25)
    assert crowd.gate.limit == 8
    assert crowd.come(100) == 8 - 4


def test_under_ten_times_what_is_heard_nobody_is_let_in_who_would_wait_longer(clock: Clock) -> None:
    crowd = Crowd(gate(clock), clock)
    crowd.come(64)
    crowd.hear(60, every_s=0.25)
    admitted = 0
    for _ in range(100):
        admitted += crowd.come(10)
        assert len(crowd.waiting) * 0.25 <= 2.0
        crowd.hear(1, every_s=0.25)
    assert admitted >= 100  # and nothing of the capacity is lost


def test_what_one_replica_takes_at_once_is_let_in_however_slow_it_is(clock: Clock) -> None:
    crowd = Crowd(gate(clock), clock)
    crowd.come(64)
    crowd.hear(64, every_s=30.0)
    assert crowd.come(100) == 4


def test_rare_requests_do_not_make_the_replicas_look_slow(clock: Clock) -> None:
    crowd = Crowd(gate(clock), clock)
    for _ in range(50):
        assert crowd.come(1) == 1
        crowd.hear(1, every_s=1.0)
        clock.now += 60.0
    assert crowd.come(100) == 64


def test_the_gate_opens_again_when_there_are_more_replicas(clock: Clock) -> None:
    crowd = Crowd(gate(clock), clock)
    crowd.come(64)
    crowd.hear(60, every_s=1.0)
    assert crowd.gate.limit == 4
    for _ in range(50):
        crowd.come(100)
        crowd.hear(4, every_s=0.02)
    assert crowd.gate.limit == 64


def test_a_refusal_says_how_long_those_before_have_to_wait(clock: Clock) -> None:
    crowd = Crowd(gate(clock, max_wait_s=30.0), clock)
    crowd.come(64)
    crowd.hear(64, every_s=1.0)
    crowd.come(100)
    refusal = crowd.gate.refusal("speech")
    assert refusal is not None
    assert refusal.retry_after_s == len(crowd.waiting) == 30


def test_nobody_is_sent_away_for_longer_than_a_minute(clock: Clock) -> None:
    crowd = Crowd(gate(clock, max_wait_s=1000.0), clock)
    crowd.come(64)
    crowd.hear(60, every_s=500.0)
    crowd.come(100)
    refusal = crowd.gate.refusal("speech")
    assert refusal is not None
    assert refusal.retry_after_s == MOST_RETRY_S


def test_who_leaves_before_being_heard_gives_the_place_back_and_says_nothing_of_the_speed(clock: Clock) -> None:
    alone = gate(clock, most=1)
    for _ in range(3):
        left = ExitStack()
        left.enter_context(alone.waiting("speech"))
        clock.now += 500.0
        assert not left.__exit__(RuntimeError, RuntimeError("left"), None)
    with alone.waiting("speech"), pytest.raises(Overloaded) as failure, alone.waiting("speech"):
        pass
    assert failure.value.retry_after_s == 1


def on_their_way(gate: Gate, count: int) -> tuple[ExitStack, int]:
    """``count`` requests that come in, and how many of them were refused."""
    coming = ExitStack()
    refused = [coming.enter_context(gate.entering("speech")) for _ in range(count)]
    return coming, sum(each is not None for each in refused)


def test_requests_on_their_way_to_the_wait_are_counted_as_if_they_waited(clock: Clock) -> None:
    crowd = Crowd(gate(clock, most=4), clock)
    assert crowd.come(1) == 1
    coming, refused = on_their_way(crowd.gate, 10)
    assert refused == 10 - 3
    assert crowd.come(10) == 3  # who has come in is let in
    coming.close()
    crowd.hear(4, every_s=1.0)
    assert on_their_way(crowd.gate, 4)[1] == 0


def test_a_request_that_ends_on_its_way_makes_room(clock: Clock) -> None:
    guarded = gate(clock, most=4)
    coming, _ = on_their_way(guarded, 4)
    assert on_their_way(guarded, 1)[1] == 1
    coming.close()
    assert on_their_way(guarded, 1)[1] == 0


def test_a_request_that_does_not_get_on_takes_no_place_for_long(clock: Clock) -> None:
    guarded = gate(clock, most=4)
    coming, _ = on_their_way(guarded, 4)
    clock.now += ENTERING_S + 0.01
    crowd = Crowd(guarded, clock)
    for _ in range(4):  # each enters and waits, beside those that do not get on
        entered = ExitStack()
        assert entered.enter_context(guarded.entering("speech")) is None
        assert crowd.come(1) == 1
    coming.close()


def test_a_wait_that_nobody_announced_is_a_wait_like_any_other(clock: Clock) -> None:
    guarded = gate(clock, most=4)
    assert Crowd(guarded, clock).come(10) == 4
    assert on_their_way(guarded, 1)[1] == 1
