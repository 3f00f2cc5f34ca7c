"""templates/secrets/keys.yaml"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager

import yaml
from helm_python import Config

from tests.charts.rendering import MINIMAL, NAMESPACE, RELEASE, Object, chart, made_by, one, render
from tests.charts.secrets.cluster import Cluster, running

TEMPLATE = "secrets/keys.yaml"
NAMES = {"auth_token", "postgresql-password", "redis-password", "api-key-pepper"}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@contextmanager
def upgrade(cluster: Cluster) -> Iterator[Object]:
    """The Secret as an upgrade of the release in ``cluster`` makes it."""
    with Config(kubeconfig_content=cluster.kubeconfig, namespace=NAMESPACE) as config:
        texts = config.render(chart(), MINIMAL, name=RELEASE, namespace=NAMESPACE, is_upgrade=True)
    yield yaml.safe_load(texts[f"kubevoice/templates/{TEMPLATE}"])


def test_every_install_makes_keys_of_its_own_that_outlive_the_release() -> None:
    first, second = (one(made_by(TEMPLATE), "Secret") for _ in range(2))
    assert first["metadata"]["name"] == "voices-kubevoice-keys"
    assert first["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert set(first["data"]) == NAMES
    values = [base64.b64decode(secret["data"][name]).decode() for secret in (first, second) for name in NAMES]
    assert len(set(values)) == 2 * len(NAMES)
    assert all(len(value) == 48 and value.isalnum() for value in values)


def test_an_upgrade_keeps_the_keys_that_the_cluster_has() -> None:
    kept = {name: encoded(f"old {name}") for name in NAMES}
    with running({"voices-kubevoice-keys": kept}) as cluster, upgrade(cluster) as secret:
        assert secret["data"] == kept
        assert f"/api/v1/namespaces/{NAMESPACE}/secrets/voices-kubevoice-keys" in cluster.asked


def test_an_upgrade_adds_a_key_that_is_missing_and_changes_no_other() -> None:
    kept = {"auth_token": encoded("old"), "postgresql-password": encoded("older")}
    with running({"voices-kubevoice-keys": kept}) as cluster, upgrade(cluster) as secret:
        assert set(secret["data"]) == NAMES
        assert {name: secret["data"][name] for name in kept} == kept
        assert len(base64.b64decode(secret["data"]["redis-password"])) == 48


def test_a_secret_of_another_name_is_not_taken_for_ours() -> None:
    with running({"others-keys": {"auth_token": encoded("theirs")}}) as cluster, upgrade(cluster) as secret:
        assert secret["data"]["auth_token"] != encoded("theirs")


def test_a_secret_of_yours_is_used_instead() -> None:
    values = {
        "secrets": {"existingSecret": "vault"},
        "postgresql": {"existingSecret": {"name": ""}, "bundled": {"enabled": True}},
    }
    assert made_by(TEMPLATE, values) == []
    container = one(render(values), "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    password = next(item for item in container["env"] if item["name"] == "POSTGRES_PASSWORD")
    assert password["valueFrom"]["secretKeyRef"] == {"name": "vault", "key": "postgresql-password"}
