"""Outliers by the median."""

from __future__ import annotations

import pytest

from training.dataset.robust import CUTOFF, deviations


def test_one_wild_value_is_far_and_does_not_hide_itself() -> None:
    far = deviations([10.0, 11.0, 9.5, 10.5, 10.2, 9.8, 1000.0], 0.01)
    assert far[-1] > 100
    assert all(abs(one) < CUTOFF for one in far[:-1])


def test_normal_numbers_count_standard_deviations() -> None:
    values = [float(value) for value in range(-50, 51)]  # median 0, MAD 25
    assert deviations([100 + value for value in values], 0.0)[-1] == pytest.approx(50 / (1.4826 * 25))


def test_numbers_that_hardly_differ_have_no_outliers() -> None:
    assert max(map(abs, deviations([1.0, 1.0, 1.0, 1.0, 1.05], 0.1))) < 1
    assert deviations([0.0, 0.0, 0.0], 0.1) == [0.0, 0.0, 0.0]
