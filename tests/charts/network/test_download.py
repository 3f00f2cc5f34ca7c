"""templates/network/download.yaml"""

import pytest

from tests.charts.rendering import made_by, one

TEMPLATE = "network/download.yaml"


def ports(endpoint: str = "") -> list[int]:
    download = {"enabled": True, "acceptLicence": True, "endpoint": endpoint}
    spec = one(made_by(TEMPLATE, {"models": {"xtts": {"download": download}}}), "NetworkPolicy")["spec"]
    assert spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "model-download"
    (rule,) = spec["egress"]
    return [port["port"] for port in rule["ports"]]


def test_the_download_reaches_the_web() -> None:
    assert ports() == [443, 80]


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://mirror.example.org", [443, 80]),
        ("https://mirror.example.org:443", [443, 80]),
        ("http://mirror:8081/hub", [443, 80, 8081]),
    ],
)
def test_a_mirror_is_reached_on_its_port(endpoint: str, expected: list[int]) -> None:
    assert ports(endpoint) == expected


def test_without_a_download_nothing_is_opened() -> None:
    assert made_by(TEMPLATE) == []
