"""Access to a cluster, and what its refusals become."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from serving.errors import ConfigurationError, KubevoiceError, NotFound, Overloaded, Unavailable
from serving.launch import Launcher, connect
from tests.factories.kubernetes_api import TEMPLATE, KubernetesApi, kubeconfig

JOBS = "/apis/batch/v1/namespaces/speech/jobs"


def test_the_kubeconfig_gives_address_token_and_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kubeconfig(tmp_path / "config", "http://127.0.0.1:1", namespace="team")
    monkeypatch.setenv("KUBECONFIG", str(path))
    found = connect()
    assert found.namespace == "team"
    assert found.api.configuration.host == "http://127.0.0.1:1"
    assert connect("other").namespace == "other"


def test_the_kubeconfig_may_be_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kubeconfig(tmp_path / "config", "http://127.0.0.1:1", namespace="team")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'none'}:{path}")
    assert connect().namespace == "team"


def test_a_connection_that_cannot_be_trusted_says_why(
    api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = launcher_at(api.url.replace("http:", "https:"), tmp_path, monkeypatch)
    with pytest.raises(ConfigurationError, match=r"the Kubernetes API at https://.* cannot be used: SSLError .*SSL"):
        launcher.runs()


def test_the_token_of_the_kubeconfig_is_sent(api: KubernetesApi, launcher: Launcher) -> None:
    launcher.runs()
    assert api.requests[0].headers["Authorization"] == "Bearer secret"


def test_a_pod_uses_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in {"token": "t0k", "ca.crt": "certificate", "namespace": "speech\n"}.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    configuration, calls = connect_without_tls(tmp_path, monkeypatch)
    assert (configuration.host, calls) == ("https://[fd00::1]:443", "speech")
    assert configuration.api_key["BearerToken"].endswith("t0k")


def connect_without_tls(account: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, str]:
    """What ``connect`` sets up; the client is not made, which would read the certificate."""
    made: list[Any] = []
    monkeypatch.setattr("serving.launch.cluster.client.ApiClient", made.append)
    namespace = connect(service_account=account).namespace
    return made[0], namespace


def test_no_cluster_at_all_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match=r"there is no Kubernetes cluster to talk to: .*set KUBECONFIG"):
        connect(service_account=tmp_path)


@pytest.mark.parametrize("content", ["", "a: [", "[]", "apiVersion: v1\nkind: Config\ncurrent-context: x\n"])
def test_a_broken_kubeconfig_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    (tmp_path / "config").write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(ConfigurationError, match="the access to Kubernetes cannot be read") as raised:
        connect()
    assert "\n" not in str(raised.value)


FORBIDDEN = (
    'jobs.batch is forbidden: User "system:serviceaccount:speech:x" cannot create resource "jobs" in API group '
    '"batch" in the namespace "speech"'
)

CONTENDED = (
    'Operation cannot be fulfilled on resourcequotas "training": the object has been modified; please apply your '
    "changes to the latest version and try again"
)


@pytest.mark.parametrize(
    ("status", "message", "kind", "words"),
    [
        (400, 'strict decoding: unknown field "spec.x"', ConfigurationError, "refuses to create jobs.batch: strict"),
        (401, "Unauthorized", ConfigurationError, "log in again"),
        (403, FORBIDDEN, ConfigurationError, "the right to create jobs.batch in namespace speech is missing"),
        (403, 'jobs "a" is forbidden: exceeded quota: jobs', Overloaded, "a quota of namespace speech is used"),
        (403, "admission webhook denied the request: no owner", ConfigurationError, "webhook denied"),
        (404, 'namespaces "speech" not found', NotFound, "not found in namespace speech"),
        (409, CONTENDED, Unavailable, "please apply your changes to the latest version and try again"),
        (422, 'Job.batch "a" is invalid: spec.template.spec.restartPolicy', ConfigurationError, "spec.restartPolicy"),
        (429, "too many requests", Unavailable, "busy"),
        (500, "etcdserver: request timed out", Unavailable, "etcdserver"),
        (503, "", Unavailable, "busy or starting"),
    ],
)
def test_a_refusal_is_a_typed_error_with_the_servers_reason(
    api: KubernetesApi, launcher: Launcher, status: int, message: str, kind: type[KubevoiceError], words: str
) -> None:
    api.refuse(f"post {JOBS}", status, message)
    with pytest.raises(kind) as raised:
        launcher.start("a", ["true"])
    assert type(raised.value) is kind
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [({"Retry-After": "7"}, 7), ({"Retry-After": "99999"}, 300), ({"Retry-After": "soon"}, 2)],
)
def test_a_flooded_api_server_says_when_to_come_back(
    api: KubernetesApi, launcher: Launcher, header: dict[str, str], seconds: int
) -> None:
    api.answer(f"get {JOBS}", 429, header, {"kind": "Status", "message": "too many requests", "code": 429})
    with pytest.raises(Unavailable, match="too many requests") as raised:
        launcher.runs()
    assert raised.value.retry_after_s == seconds


@pytest.mark.parametrize("body", [b"<html>not this", b"", b"[1]", b"{}"])
def test_what_is_not_kubernetes_is_said_to_be_none(api: KubernetesApi, launcher: Launcher, body: bytes) -> None:
    api.answer(f"get {JOBS}", 200, {"Content-Type": "application/json"}, body)
    with pytest.raises(Unavailable, match="is not the Kubernetes API"):
        launcher.runs()


@contextmanager
def peer(*, accepts: bool) -> Iterator[str]:
    """The address of something that hangs up on everyone, or accepts and never says a word."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                if accepts:
                    held.append(connection)
                else:
                    connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


def launcher_at(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", url)))
    return Launcher(connect(), TEMPLATE, poll_s=0.02, patience_s=0.2)


@pytest.mark.parametrize("operation", ["runs", "status", "logs", "stop", "start"])
@pytest.mark.parametrize("accepts", [True, False], ids=["silent", "hangs up"])
def test_nothing_waits_for_a_dead_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accepts: bool, operation: str
) -> None:
    monkeypatch.setattr("serving.launch.launcher.TIMEOUT_S", (0.3, 0.3))
    arguments = {"runs": [], "start": ["a", ["true"]]}.get(operation, ["a"])
    with peer(accepts=accepts) as url:
        launcher = launcher_at(url, tmp_path, monkeypatch)
        began = time.monotonic()
        with pytest.raises(Unavailable, match=f"the Kubernetes API at {url} does not answer"):
            getattr(launcher, operation)(*arguments)
        assert time.monotonic() - began < 30


def test_following_puts_up_with_a_dead_peer_for_a_while_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with peer(accepts=False) as url:
        launcher = launcher_at(url, tmp_path, monkeypatch)
        began = time.monotonic()
        with pytest.raises(Unavailable):
            list(launcher.changes("a"))
        assert 0.2 <= time.monotonic() - began < 30


def test_following_survives_an_api_server_that_restarts(api: KubernetesApi, launcher: Launcher) -> None:
    launcher.start("a", ["true"])
    api.finish("a")
    _ = api.emulator[f"get {JOBS}"][:2] ** 100 << 503
    assert [run.state for run in launcher.changes("a")] == ["succeeded"]
