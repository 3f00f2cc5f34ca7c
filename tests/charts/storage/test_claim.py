"""templates/storage/claim.yaml"""

from typing import Any

import pytest

from tests.charts.rendering import made_by, one, render

TEMPLATE = "storage/claim.yaml"


def test_a_claim_is_made_that_outlives_the_release() -> None:
    claim = one(made_by(TEMPLATE), "PersistentVolumeClaim")
    assert claim["metadata"]["name"] == "voices-kubevoice-data"
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"] == {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "100Gi"}}}


def test_mode_class_and_size_are_those_of_the_values() -> None:
    values = {"accessMode": "ReadWriteOnce", "singleNode": True, "storageClass": "fast", "size": "7Gi", "keep": False}
    claim = one(made_by(TEMPLATE, {"storage": values}), "PersistentVolumeClaim")
    assert "annotations" not in claim["metadata"]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "7Gi"}},
    }


def test_an_existing_claim_is_used_instead() -> None:
    values: dict[str, Any] = {
        "storage": {"existingClaim": "models"},
        "models": {"xtts": {"download": {"enabled": True, "acceptLicence": True}}},
    }
    assert made_by(TEMPLATE, values) == []
    pod = one(render(values), "Job")["spec"]["template"]["spec"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "models"}} in pod["volumes"]


@pytest.mark.parametrize("upgrade", [False, True])
def test_an_upgrade_asks_for_the_same_claim(upgrade: bool) -> None:
    assert made_by(TEMPLATE, upgrade=upgrade) == made_by(TEMPLATE)
