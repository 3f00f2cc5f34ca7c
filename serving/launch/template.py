"""The Job template of the chart, and what a run adds to it: its name, command, environment and labels."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from kubernetes import client
from pydantic import ValidationError

from serving.errors import ConfigurationError, InvalidRequest
from serving.launch.base import LABEL_VALUE, check_name

KEY, DATASET_KEY = "job.yaml", "dataset-job.yaml"
CONTAINER = "training"
RUN_LABEL = "kubevoice.io/run"

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parsed(text: str | None, source: str) -> dict[str, Any]:
    """The template in ``text``, which is ``source``, "job.yaml of ..."; raises ConfigurationError with the field."""
    if not text:
        raise ConfigurationError(f"there is no {source}; the chart makes it (training.enabled)")
    try:
        template = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{source} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(template, dict) or (template.get("apiVersion"), template.get("kind")) != ("batch/v1", "Job"):
        raise ConfigurationError(f"{source} is not a Job of batch/v1")
    _validated(template, source)
    names = [container["name"] for container in _pod(template)["spec"]["containers"]]
    if CONTAINER not in names:
        raise ConfigurationError(
            f"{source}: spec.template.spec.containers has none named {CONTAINER} (it has {', '.join(names)})"
        )
    return template


def filled(
    template: Mapping[str, Any],
    source: str,
    *,
    name: str,
    command: Sequence[str],
    env: Mapping[str, str],
    labels: Mapping[str, str],
) -> client.V1Job:
    """The Job of run ``name``, which is given to the container as its ``args``: its entry point, the image's or the
    template's ``command``, starts them (tini does). Variables of the same name are replaced, others stay.

    Raises InvalidRequest where a value of the caller cannot be used.
    """
    _check(name, command, env, labels)
    job: dict[str, Any] = copy.deepcopy(dict(template))
    pod = _pod(job)
    for owner in (job, pod):
        metadata = owner["metadata"] = owner.get("metadata") or {}
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels, RUN_LABEL: name}
    job["metadata"]["name"] = name
    container = next(container for container in pod["spec"]["containers"] if container["name"] == CONTAINER)
    container["args"] = [_literal(word) for word in command]
    given = [{"name": key, "value": _literal(value)} for key, value in env.items()]
    container["env"] = [old for old in container.get("env") or [] if old["name"] not in env] + given
    return _validated(job, source)


def _check(name: str, command: Sequence[str], env: Mapping[str, str], labels: Mapping[str, str]) -> None:
    check_name(name)
    if not command or not command[0]:
        raise InvalidRequest("there is no command to run; write it after --", param="command")
    for key in env:
        if not VARIABLE.fullmatch(key):
            raise InvalidRequest(f"{key!r} is no name of an environment variable", param="env")
    for key, value in labels.items():
        assert key.startswith("kubevoice.io/"), "the template's own labels select pods and are not a run's to change"
        if not LABEL_VALUE.fullmatch(value):
            raise InvalidRequest(f"{value!r} cannot be the label {key}", param=key)


def _literal(text: str) -> str:
    """Kubernetes replaces $(NAME) and halves $$ in arguments and variables; a run gets what its caller wrote."""
    return text.replace("$", "$$")


def _pod(job: Mapping[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = job["spec"]["template"]
    return pod


def _validated(job: Mapping[str, Any], source: str) -> client.V1Job:
    try:
        model = client.V1Job.model_validate(job)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{source}: {field}: {first['msg']}") from None
    if not (model.spec and model.spec.template.spec):
        raise ConfigurationError(f"{source}: spec.template.spec is missing")
    return model
