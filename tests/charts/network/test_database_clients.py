"""templates/network/database-clients.yaml"""

from typing import Any

import pytest

from tests.charts.rendering import made_by, one, render

TEMPLATE = "network/database-clients.yaml"


def rule(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = one(made_by(TEMPLATE, values), "NetworkPolicy")["spec"]["egress"][0]
    return found


def test_a_database_of_yours_is_reached_on_its_usual_port() -> None:
    assert rule({}) == {"ports": [{"port": 5432}]}


def test_the_port_of_a_url_in_a_secret_is_named() -> None:
    assert rule({"postgresql": {"existingSecret": {"port": 6432}}})["ports"] == [{"port": 6432}]


def test_the_bundled_one_has_a_port_of_its_own() -> None:
    values = {"postgresql": {"existingSecret": {"name": "", "port": 6432}, "bundled": {"enabled": True}}}
    assert rule(values)["ports"] == [{"port": 5432}]


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("postgresql+psycopg://me:secret@db:6432/records", 6432),
        ("postgresql+psycopg://me:secret@db:6432", 6432),
        ("postgresql+psycopg://me:secret@db:6432?sslmode=require", 6432),
        ("postgresql+psycopg://me:5555@db/records", 5432),
    ],
)
def test_the_port_of_a_url_is_read(url: str, port: int) -> None:
    assert rule({"postgresql": {"url": url, "existingSecret": {"name": ""}}})["ports"] == [{"port": port}]


def test_named_addresses_are_the_only_ones() -> None:
    assert rule({"networkPolicy": {"databases": ["10.2.0.0/16"]}})["to"] == [{"ipBlock": {"cidr": "10.2.0.0/16"}}]


def test_the_bundled_one_is_reached_by_its_label() -> None:
    values = {"postgresql": {"existingSecret": {"name": ""}, "bundled": {"enabled": True}}}
    (peer,) = rule(values)["to"]
    labels = one(render(values), "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert peer["podSelector"]["matchLabels"] == labels


def test_switched_off_there_is_none() -> None:
    assert made_by(TEMPLATE, {"networkPolicy": {"enabled": False}}) == []
