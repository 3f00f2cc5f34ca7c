"""What stands out among numbers, by the median and the median absolute deviation, which outliers do not move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CUTOFF = 3.5
"""Iglewicz and Hoaglin's cutoff for the modified z-score."""

TO_SIGMA = 1.4826
"""MAD times this is the standard deviation where the numbers are normal."""


def deviations(values: Sequence[float], least_spread: float) -> list[float]:
    """How many standard deviations each value lies above (or, negative, below) the median.

    ``least_spread`` is the smallest deviation that counts as one, as a share of the median: numbers that hardly differ
    have no outliers.
    """
    array = np.array(values, np.float64)
    median = float(np.median(array))
    spread = TO_SIGMA * float(np.median(np.abs(array - median)))
    return [float(value) for value in (array - median) / max(spread, least_spread * abs(median), 1e-9)]
