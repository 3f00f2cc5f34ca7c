"""templates/network/api-server-api.yaml"""

from tests.charts.network.traffic import allowed, pods
from tests.charts.rendering import made_by, render

TEMPLATE = "network/api-server-api.yaml"


def test_only_groups_that_run_the_api_reach_the_api_server() -> None:
    usual = {"minReplicas": 1, "maxReplicas": 2, "resources": {"requests": {"cpu": "4"}}}
    groups = [
        {"name": "front", "runs": ["api"], **usual},
        {"name": "both", "runs": ["api", "speech"], **usual},
        {"name": "voice", "runs": ["speech"], **usual},
    ]
    objects = render({"workerGroups": groups, "speech": {"gpus": 0}, "settings": {"engine": "espeak"}})
    found = pods(objects)
    reach = {name for name in ("front", "both", "voice") if allowed(objects, found[f"worker/{name}"], "10.0.0.1", 443)}
    assert reach == {"front", "both"}


def test_without_training_none_does() -> None:
    assert made_by(TEMPLATE, {"training": {"enabled": False}}) == []


def test_switched_off_there_is_none() -> None:
    assert made_by(TEMPLATE, {"networkPolicy": {"enabled": False}}) == []
