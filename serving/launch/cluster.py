"""One namespace of a Kubernetes cluster, and its refusals as sentences."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.config.incluster_config import InClusterConfigLoader
from pydantic import ValidationError

from serving.errors import ConfigurationError, Conflict, KubevoiceError, NotFound, Overloaded, Unavailable
from serving.launch.permissions import GET_LOGS, Permission

_load_kubeconfig: Any = config.load_kube_config  # this part of the client has no types
_contexts: Any = config.list_kube_config_contexts
_InCluster: Any = InClusterConfigLoader

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts a pod's token, certificate and namespace."""

TIMEOUT_S = (5.0, 20.0)
"""Seconds to connect, and of silence from the API server before a request is given up."""

RETRY_AFTER_S = 2
"""Seconds until another try where the API server wishes nothing else."""

LONGEST_RETRY_AFTER_S = 300

REFUSED = (ConfigurationError, "Kubernetes refuses to {permission}: ")
BUSY = (Unavailable, "the Kubernetes API at {host} is busy or starting: ")
UNUSABLE = (ConfigurationError, "the Kubernetes API at {host} cannot be used: ")  # status 0: a bad certificate
REFUSALS: dict[int | None, tuple[type[KubevoiceError], str]] = {
    **dict.fromkeys((400, 403, 413, 422), REFUSED),
    401: (ConfigurationError, "the Kubernetes API at {host} does not know you, log in again: "),
    404: (NotFound, "not found in namespace {namespace}: "),
    **dict.fromkeys((408, 409, 410, 429, 500, 502, 503, 504), BUSY),
}
"""What the API server's status codes mean to a caller."""


@dataclass(frozen=True)
class Cluster:
    """Access to ``namespace``."""

    api: client.ApiClient
    namespace: str

    @contextmanager
    def asking(self, permission: Permission) -> Iterator[None]:
        """Turns what goes wrong with a request, which needs ``permission``, into an error of serving/errors.py."""
        try:
            yield
        except client.ApiException as error:
            raise self._refusal(error, permission) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(f"the Kubernetes API at {self._host} does not answer ({_brief(error)})") from error
        except (ValidationError, json.JSONDecodeError) as error:
            raise Unavailable(f"what answers at {self._host} is not the Kubernetes API") from error

    @property
    def _host(self) -> str:
        return str(self.api.configuration.host)

    def _refusal(self, error: client.ApiException, permission: Permission) -> KubevoiceError:
        message = _message(error)
        if error.status == 403 and "exceeded quota" in message:
            return Overloaded(f"a quota of namespace {self.namespace} is used up: {message}", retry_after_s=60)
        if error.status == 403 and ("cannot" in message or not message):
            return ConfigurationError(
                f"the right to {permission} in namespace {self.namespace} is missing; the chart grants it to its API "
                f"pods (training.enabled), for yourself ask who looks after the cluster: {message}"
            )
        if error.status == 409 and _said(error).get("reason") == "AlreadyExists":
            return Conflict(f"Kubernetes refuses to {permission}: {message}")  # others, as of a quota's counter, pass
        kind, sentence = REFUSALS.get(error.status, UNUSABLE)
        if error.status == 400 and permission is GET_LOGS:  # the kubelet's answer while a container comes or goes
            kind = Unavailable
        words = sentence.format(host=self._host, namespace=self.namespace, permission=permission) + message
        return Unavailable(words, _retry_after(error)) if kind is Unavailable else kind(words)


def connect(namespace: str | None = None, *, service_account: Path = SERVICE_ACCOUNT) -> Cluster:
    """The cluster that kubectl would use: that of the kubeconfig, else the one this pod runs in.

    ``namespace`` defaults to the kubeconfig's context, or to the pod's own. Raises ConfigurationError.
    """
    configuration = client.Configuration()
    configuration.retries = False  # one try per request, so that timeouts are what they say
    kubeconfig = os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        if any(Path(part).expanduser().is_file() for part in kubeconfig.split(os.pathsep)):
            _load_kubeconfig(kubeconfig, client_configuration=configuration, persist_config=False)
            found = _context_namespace(kubeconfig)
        elif (service_account / "token").is_file():
            _InCluster(service_account / "token", service_account / "ca.crt").load_and_set(configuration)
            found = (service_account / "namespace").read_text().strip()
        else:
            raise ConfigurationError(
                f"there is no Kubernetes cluster to talk to: neither a kubeconfig ({kubeconfig}) nor the token of a "
                "service account was found; set KUBECONFIG"
            )
    except (config.ConfigException, yaml.YAMLError, OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"the access to Kubernetes cannot be read: {_brief(error)}") from error
    return Cluster(client.ApiClient(configuration), namespace or found)


def _context_namespace(kubeconfig: str) -> str:
    _, context = _contexts(kubeconfig)
    return str(context["context"].get("namespace") or "default")


def _retry_after(error: client.ApiException) -> int:
    """Seconds that the server asks to be left alone: it says so where it is flooded."""
    wish = str((error.headers or {}).get("Retry-After", ""))
    return min(int(wish), LONGEST_RETRY_AFTER_S) if re.fullmatch("[0-9]{1,6}", wish) else RETRY_AFTER_S


def _said(error: client.ApiException) -> dict[str, Any]:
    """The server's Status; empty where what answers is something else."""
    try:
        status = json.loads(error.body or "")
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}


def _message(error: client.ApiException) -> str:
    """What the server says, with the fields it objects to."""
    said = _said(error).get("message")
    return _brief(error.reason or error.body or "") if said is None else str(said)


def _brief(error: object) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
