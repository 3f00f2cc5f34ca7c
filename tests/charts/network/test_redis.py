"""templates/network/redis.yaml"""

from typing import Any

from tests.charts.network.traffic import Pod, allowed, pods
from tests.charts.rendering import made_by, merged, render

BUNDLED: dict[str, Any] = {"redis": {"bundled": {"enabled": True}}, "ray": {"gcsFaultTolerance": {"enabled": True}}}

TEMPLATE = "network/redis.yaml"


def test_only_the_head_reaches_the_bundled_redis() -> None:
    objects = render(BUNDLED)
    found = pods(objects)
    reach = {name for name, pod in found.items() if allowed(objects, pod, found["redis"], 6379)}
    assert reach == {"head"}
    assert not allowed(objects, Pod({}, "elsewhere"), found["redis"], 6379)


def test_there_is_none_beside_one_of_yours() -> None:
    assert made_by(TEMPLATE) == []


def test_switched_off_there_is_none() -> None:
    assert made_by(TEMPLATE, merged(BUNDLED, {"networkPolicy": {"enabled": False}})) == []
