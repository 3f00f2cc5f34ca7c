"""What tells a whole answer from one that is not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.e2e.callers import Callers, Endpoints, alike

SPEECH = np.random.default_rng(7).integers(-9000, 9000, 8000, dtype=np.int16)
ROUNDED = SPEECH + np.random.default_rng(8).integers(-1, 2, SPEECH.size, dtype=np.int16)
FIRST, SECOND = np.split(SPEECH, 2)


def heard(*answers: np.ndarray[tuple[int], np.dtype[np.int16]]) -> Callers:
    callers = Callers(Endpoints(list), 1, {})
    callers.answers = [answer.tobytes() for answer in answers]
    return callers


def test_answers_that_differ_by_rounding_are_the_same_speech() -> None:
    assert alike(SPEECH.tobytes(), ROUNDED.tobytes())
    heard(SPEECH, ROUNDED, ROUNDED).assert_whole()


def test_one_that_took_another_turn_in_a_sentence_is_let_pass() -> None:
    heard(SPEECH[:7500], *[SPEECH] * 10).assert_whole()


@pytest.mark.parametrize(
    ("wrong", "times"), [(FIRST, 1), (np.concatenate([FIRST, FIRST]), 2), (np.concatenate([SECOND, FIRST]), 2)]
)
def test_halves_and_pieces_in_another_order_are_noticed(
    wrong: np.ndarray[tuple[int], np.dtype[np.int16]], times: int
) -> None:
    with pytest.raises(AssertionError):
        heard(*[SPEECH] * 10, *[wrong] * times).assert_whole()
