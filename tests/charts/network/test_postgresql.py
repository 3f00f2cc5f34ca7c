"""templates/network/postgresql.yaml"""

from typing import Any

from tests.charts.network.traffic import Pod, allowed, pods
from tests.charts.rendering import made_by, merged, render

BUNDLED: dict[str, Any] = {"postgresql": {"existingSecret": {"name": ""}, "bundled": {"enabled": True}}}

TEMPLATE = "network/postgresql.yaml"


def test_only_the_api_reaches_the_bundled_postgresql() -> None:
    objects = render(BUNDLED)
    found = pods(objects)
    reach = {name for name, pod in found.items() if allowed(objects, pod, found["postgresql"], 5432)}
    assert reach == {"worker/api"}
    assert not allowed(objects, Pod({}, "elsewhere"), found["postgresql"], 5432)


def test_there_is_none_beside_one_of_yours() -> None:
    assert made_by(TEMPLATE) == []


def test_switched_off_there_is_none() -> None:
    assert made_by(TEMPLATE, merged(BUNDLED, {"networkPolicy": {"enabled": False}})) == []
