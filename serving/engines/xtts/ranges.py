"""What numbers a request may bring: one that computes nonsense would take its neighbours in the batch with it."""

from __future__ import annotations

import math

from serving.engines.base import SpeechRequest
from serving.engines.xtts.frames import MIN_SPEED
from serving.errors import InvalidRequest


def check_ranges(asked: SpeechRequest) -> None:
    """Raise InvalidRequest that names the field unless the decoder can compute with all of them."""
    options = asked.sampling
    _check("speed", asked.speed, f"{MIN_SPEED} or more", MIN_SPEED <= asked.speed < math.inf)
    if (temperature := options.temperature) is not None:
        _check("temperature", temperature, "more than 0", 0 < temperature < math.inf)
    if (top_k := options.top_k) is not None:
        _check("top_k", top_k, "0 or more", top_k >= 0)
    if (top_p := options.top_p) is not None:
        _check("top_p", top_p, "0 to 1", 0 <= top_p <= 1)
    if (penalty := options.repetition_penalty) is not None:
        _check("repetition_penalty", penalty, "more than 0", 0 < penalty < math.inf)


def _check(field: str, value: float, expected: str, good: bool) -> None:
    if not good:
        raise InvalidRequest(f"{field} is {value}; it must be {expected}", field)
