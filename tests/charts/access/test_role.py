"""templates/access/role.yaml"""

from serving.launch.permissions import PERMISSIONS
from tests.charts.rendering import made_by, one, render

TEMPLATE = "access/role.yaml"


def test_it_grants_what_the_launcher_asks_for_and_nothing_more() -> None:
    granted = {
        (group, resource, verb, tuple(rule.get("resourceNames", ())))
        for rule in one(made_by(TEMPLATE), "Role")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    template = ("voices-kubevoice-training-template",)
    assert granted == {(p.group, p.resource, p.verb, template if p.template_only else ()) for p in PERMISSIONS}


def test_the_named_config_map_is_the_one_that_is_rendered() -> None:
    objects = render()
    names = [name for rule in one(objects, "Role")["rules"] for name in rule.get("resourceNames", [])]
    for name in names:
        one(objects, "ConfigMap", name)
    assert names


def test_without_training_there_are_no_rights_at_all() -> None:
    kinds = {item["kind"] for item in render({"training": {"enabled": False}})}
    assert not kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


def test_nothing_is_granted_beyond_the_namespace() -> None:
    assert not {item["kind"] for item in render()} & {"ClusterRole", "ClusterRoleBinding"}
