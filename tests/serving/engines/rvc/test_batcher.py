"""Work that waits is taken together, and nobody pays for another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch

from serving.engines.rvc.batcher import Batcher
from serving.errors import EngineError, InvalidRequest, Overloaded, Unavailable

WAIT_S = 60


class Desk:
    """A batcher of numbers, whose thread stops before each batch until it is let go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered, self.gate = threading.Semaphore(0), threading.Semaphore(0)
        self.batcher: Batcher[int, int] = Batcher(
            "desk", torch.device("cpu"), self._double, lambda number: number % 2, most=3, queue=8
        )

    def hold(self) -> None:
        """Give it something to do and wait until it is at it."""
        self.held = self.batcher.submit(100)
        assert self.entered.acquire(timeout=WAIT_S)

    def release(self) -> None:
        for _ in range(50):
            self.gate.release()

    def _double(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.entered.release()
        assert self.gate.acquire(timeout=WAIT_S)
        if 13 in numbers:
            raise InvalidRequest("13 is not liked", "number")
        if 15 in numbers:
            raise ZeroDivisionError
        return [2 * number for number in numbers]


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.release()
    desk.batcher.close()


def test_what_waits_goes_together_by_kind_oldest_first(desk: Desk) -> None:
    desk.hold()
    futures = [desk.batcher.submit(number) for number in (1, 2, 3, 5, 7, 4)]
    assert desk.batcher.load[:2] == (1, 6)
    desk.release()
    assert [future.result(WAIT_S) for future in futures] == [2, 4, 6, 10, 14, 8]
    assert desk.batches == [[100], [1, 3, 5], [2, 4], [7]]


@pytest.mark.parametrize(("bad", "error"), [(13, InvalidRequest), (15, EngineError)])
def test_an_item_that_fails_fails_alone(desk: Desk, bad: int, error: type[Exception]) -> None:
    desk.hold()
    good, failing, other = (desk.batcher.submit(number) for number in (11, bad, 17))
    desk.release()
    assert (good.result(WAIT_S), other.result(WAIT_S)) == (22, 34)
    assert isinstance(failing.exception(WAIT_S), error)
    assert desk.batcher.submit(1).result(WAIT_S) == 2


def test_what_nobody_wants_any_more_is_left_out(desk: Desk) -> None:
    desk.hold()
    gone, wanted = desk.batcher.submit(1), desk.batcher.submit(3)
    assert gone.cancel()
    assert desk.batcher.load[:2] == (1, 1)
    desk.release()
    assert wanted.result(WAIT_S) == 6
    assert desk.batches == [[100], [3]]


def test_a_full_queue_refuses(desk: Desk) -> None:
    desk.hold()
    for number in range(8):
        desk.batcher.submit(number)
    with pytest.raises(Overloaded, match="8 windows wait"):
        desk.batcher.submit(9)


def test_closing_ends_what_waits_and_refuses_more(desk: Desk) -> None:
    desk.hold()
    waiting = desk.batcher.submit(1)
    closing = threading.Thread(target=desk.batcher.close)
    closing.start()
    until(lambda: not desk.batcher.alive)
    desk.release()
    closing.join(WAIT_S)
    assert desk.held.result(WAIT_S) == 200
    assert isinstance(waiting.exception(WAIT_S), Unavailable)
    with pytest.raises(Unavailable):
        desk.batcher.submit(2)


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    while not condition():
        pause.wait(0.001)


def test_numbers_too_small_to_matter_are_zeros_on_its_thread() -> None:
    tiny = torch.full((8,), torch.finfo(torch.float32).tiny)

    def halved(items: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [item / 2 for item in items]

    batcher: Batcher[torch.Tensor, torch.Tensor] = Batcher("tiny", tiny.device, halved, lambda _: 0, most=1, queue=1)
    try:
        assert not batcher.submit(tiny).result(WAIT_S).any()
    finally:
        batcher.close()
    assert (tiny / 2).all()
