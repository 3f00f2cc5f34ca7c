"""Kubernetes' schemas as they are kept in memory say what kubernetes_validate says."""

from __future__ import annotations

from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.charts.schemas.kubernetes import validate_object

ROLE: dict[str, Any] = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "reader"},
    "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
}
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "one"},
    "spec": {"containers": [{"name": "only", "image": "busybox:1"}]},
}


@pytest.mark.parametrize("version", ["1.31", "1.34", "1.37"])
@pytest.mark.parametrize("item", [ROLE, POD], ids=["Role", "Pod"])
def test_a_right_object_is_taken(item: dict[str, Any], version: str) -> None:
    validate_object(item, version)
    kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize(
    "change", [{"rules": [{"verbs": "get"}]}, {"rule": []}, {"metadata": {"name": "reader", "lables": {}}}]
)
def test_a_wrong_type_and_an_unknown_field_are_refused(change: dict[str, Any]) -> None:
    item = ROLE | change
    with pytest.raises(jsonschema.ValidationError) as ours:
        validate_object(item, "1.34")
    with pytest.raises(kubernetes_validate.ValidationError) as theirs:
        kubernetes_validate.validate(item, "1.34", strict=True)
    assert ours.value.message == theirs.value.message


def test_a_field_that_a_version_does_not_know_yet_is_refused_there() -> None:
    resize = {"name": "only", "image": "busybox:1", "restartPolicyRules": []}
    newer = POD | {"spec": {"containers": [resize]}}
    validate_object(newer, "1.37")
    with pytest.raises(jsonschema.ValidationError):
        validate_object(newer, "1.31")
