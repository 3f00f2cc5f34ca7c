"""templates/redis/statefulset.yaml"""

import subprocess
from pathlib import Path
from typing import Any

from tests.charts.rendering import made_by, merged, one

TEMPLATE = "redis/statefulset.yaml"
BUNDLED: dict[str, Any] = {"redis": {"bundled": {"enabled": True}}, "ray": {"gcsFaultTolerance": {"enabled": True}}}


def spec(values: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = one(made_by(TEMPLATE, merged(BUNDLED, values or {})), "StatefulSet")["spec"]
    return found


def test_there_is_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_the_password_is_in_a_private_file_and_in_no_argument(tmp_path: Path) -> None:
    # The container's own script with its own shell; in the place of redis-server a script that shows what it was given.
    container = spec()["template"]["spec"]["containers"][0]
    (tmp_path / "redis-server").write_text('#!/bin/sh\nstat -c %a "$1"\ncat "$1"\n')
    (tmp_path / "redis-server").chmod(0o755)
    script = container["args"][0].replace("/run/redis", str(tmp_path))
    done = subprocess.run(
        [*container["command"], script],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "REDISCLI_AUTH": "s3cr3t"},
        capture_output=True,
        text=True,
        check=True,
    )
    mode, *settings = done.stdout.splitlines()
    assert mode == "600"
    assert settings == ["dir /data", 'save ""', "appendonly yes", "appendfsync everysec", 'requirepass "s3cr3t"']
    assert container["env"] == [
        {
            "name": "REDISCLI_AUTH",
            "valueFrom": {"secretKeyRef": {"name": "voices-kubevoice-keys", "key": "redis-password"}},
        }
    ]
    assert "s3cr3t" not in " ".join([*container["command"], script])


def test_it_writes_to_its_volume_and_to_memory_only() -> None:
    pod = spec()["template"]["spec"]
    container = pod["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsUser"] == 999  # redis of the alpine image
    assert {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]} == {
        "data": "/data",
        "run": "/run/redis",
    }
    assert pod["volumes"] == [{"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]


def test_nothing_immutable_follows_the_version_or_the_labels_of_the_values() -> None:
    def immutable(values: dict[str, Any]) -> tuple[Any, ...]:
        found = spec(values)
        return found["selector"], found["serviceName"], found["volumeClaimTemplates"]

    assert immutable({}) == immutable({"image": {"tag": "9.9.9"}, "labels": {"team": "speech"}})


def test_image_size_and_class_are_those_of_the_values() -> None:
    found = spec({"redis": {"bundled": {"image": "registry/redis:7", "size": "2Gi", "storageClass": "block"}}})
    assert found["template"]["spec"]["containers"][0]["image"] == "registry/redis:7"
    assert found["volumeClaimTemplates"][0]["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "block",
        "resources": {"requests": {"storage": "2Gi"}},
    }
