import time

import pytest

from serving.engines.xtts.rates import Rates


def test_rates_are_those_of_the_last_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rates = Rates()
    for second in range(1, 31):
        now[0] += 1.0
        measured = rates.at(20 * min(second, 15), 2.0 * min(second, 15))
        if second == 15:
            assert measured == pytest.approx((20.0, 2.0))
        if second == 20:
            assert measured == pytest.approx((20.0 * 6 / 11, 2.0 * 6 / 11))
    assert measured == (0.0, 0.0)
