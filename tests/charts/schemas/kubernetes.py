"""Kubernetes' own schemas, strict, each read once."""

from __future__ import annotations

import functools
from typing import Any

import jsonschema
from kubernetes_validate.utils import all_versions, schema_contents
from referencing import Registry, Resource

FOLDER = "kubernetes-json-schema/v{}-local-strict"


def validate_object(item: dict[str, Any], version: str) -> None:
    """Raise jsonschema.ValidationError for what API server ``version`` ("1.34") would refuse, unknown fields too.

    kubernetes_validate.validate does the same and reads a megabyte of definitions at each call.
    """
    _validator(item["apiVersion"], item["kind"], version).validate(item)


@functools.cache
def _validator(api_version: str, kind: str, version: str) -> jsonschema.Draft202012Validator:
    folder, registry = _definitions(version)
    group, _, number = api_version.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.partition(".")[0], number) if part)
    schema = schema_contents(f"{folder}/{name}.json", version)
    return jsonschema.Draft202012Validator(schema, registry=Resource.from_contents(schema) @ registry)


@functools.cache
def _definitions(version: str) -> tuple[str, Registry[Any]]:
    full = next(known for known in all_versions() if known == version or known.startswith(f"{version}."))
    folder = FOLDER.format(full)
    contents = schema_contents(f"{folder}/_definitions.json", version)
    registry: Registry[Any] = Resource.from_contents(contents) @ Registry()
    return folder, registry.crawl()
