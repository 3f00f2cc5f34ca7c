"""templates/access/rolebinding.yaml"""

from tests.charts.rendering import NAMESPACE, made_by, one, render

TEMPLATE = "access/rolebinding.yaml"


def test_the_role_is_given_to_the_account_of_the_api_and_to_no_other() -> None:
    objects = render()
    binding = one(made_by(TEMPLATE), "RoleBinding")
    one(objects, "Role", binding["roleRef"]["name"])
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "voices-kubevoice-api", "namespace": NAMESPACE}]
    one(objects, "ServiceAccount", "voices-kubevoice-api")


def test_without_training_there_is_none() -> None:
    assert made_by(TEMPLATE, {"training": {"enabled": False}}) == []
