"""Values that are refused, by what would happen with them: the values, and pieces of the sentence."""

from tests.charts.refusals.around import AROUND
from tests.charts.refusals.cluster import CLUSTER
from tests.charts.refusals.values import Case

__all__ = ["REFUSED"]

REFUSED: dict[str, Case] = {**CLUSTER, **AROUND}
