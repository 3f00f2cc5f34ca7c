"""templates/postgresql/statefulset.yaml"""

from typing import Any

from tests.charts.rendering import made_by, merged, one

TEMPLATE = "postgresql/statefulset.yaml"
BUNDLED: dict[str, Any] = {"postgresql": {"existingSecret": {"name": ""}, "bundled": {"enabled": True}}}


def spec(values: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = one(made_by(TEMPLATE, merged(BUNDLED, values or {})), "StatefulSet")["spec"]
    return found


def test_there_is_none_beside_a_database_of_yours() -> None:
    assert made_by(TEMPLATE) == []


def test_its_files_are_in_a_directory_below_the_volume() -> None:
    container = spec()["template"]["spec"]["containers"][0]
    env = {item["name"]: item for item in container["env"]}
    mount = next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "data")
    assert env["PGDATA"]["value"].startswith(f"{mount}/")
    assert env["POSTGRES_PASSWORD"]["valueFrom"]["secretKeyRef"] == {
        "name": "voices-kubevoice-keys",
        "key": "postgresql-password",
    }


def test_it_writes_to_its_volume_its_socket_and_tmp_only() -> None:
    pod = spec()["template"]["spec"]
    container = pod["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsUser"] == 70  # postgres of the alpine image
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {
        "/var/lib/postgresql/data",
        "/var/run/postgresql",
        "/tmp",
    }
    assert {mount["name"] for mount in container["volumeMounts"]} == {"data", *(v["name"] for v in pod["volumes"])}


def test_it_is_ready_when_it_answers_over_tcp() -> None:
    container = spec()["template"]["spec"]["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"][:3] == ["pg_isready", "-h", "127.0.0.1"]


def test_nothing_immutable_follows_the_version_or_the_labels_of_the_values() -> None:
    def immutable(values: dict[str, Any]) -> tuple[Any, ...]:
        found = spec(values)
        return found["selector"], found["serviceName"], found["volumeClaimTemplates"]

    changed = {"image": {"tag": "9.9.9"}, "labels": {"team": "speech"}, "annotations": {"note": "x"}}
    assert immutable({}) == immutable(changed)
    assert spec()["volumeClaimTemplates"][0]["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "8Gi"}},
    }


def test_image_size_class_and_resources_are_those_of_the_values() -> None:
    given = {
        "image": "registry/postgres:17",
        "size": "1Gi",
        "storageClass": "block",
        "resources": {"limits": {"memory": "1Gi"}},
    }
    found = spec({"postgresql": {"bundled": given}, "imagePullSecrets": [{"name": "registry"}]})
    container = found["template"]["spec"]["containers"][0]
    assert container["image"] == "registry/postgres:17"
    assert container["resources"]["limits"]["memory"] == "1Gi"
    assert found["volumeClaimTemplates"][0]["spec"]["storageClassName"] == "block"
    assert found["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]
