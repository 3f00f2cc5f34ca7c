import math
from typing import Any

import pytest

from serving.engines.base import Sampling, SpeechRequest, Voice
from serving.engines.xtts.ranges import check_ranges
from serving.errors import InvalidRequest


def asked(speed: float = 1.0, **sampling: Any) -> SpeechRequest:
    return SpeechRequest("Text.", Voice("ada"), "en", speed, sampling=Sampling(**sampling))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("speed", [0.0, -1.0, math.nan, math.inf]),
        ("temperature", [0.0, -0.5, math.nan, math.inf]),
        ("top_k", [-1]),
        ("top_p", [-0.1, 1.1, math.nan]),
        ("repetition_penalty", [0.0, -2.0, math.nan, math.inf]),
    ],
)
def test_numbers_that_compute_nonsense_are_refused_by_name(field: str, values: list[float]) -> None:
    for value in values:
        with pytest.raises(InvalidRequest, match=f"{field} is {value}; it must be") as caught:
            check_ranges(asked(**{field: value}))
        assert caught.value.param == field


def test_all_that_the_decoder_can_compute_is_taken() -> None:
    check_ranges(asked())
    check_ranges(asked(speed=0.05, temperature=0.01, top_k=0, top_p=0.0, repetition_penalty=0.5))
    check_ranges(asked(speed=4.0, temperature=5.0, top_k=10_000, top_p=1.0, repetition_penalty=20.0))
