"""A real Kubernetes API server on loopback: etcd and kube-apiserver from ``KUBEBUILDER_ASSETS`` (as envtest does)."""

from __future__ import annotations

import base64
import os
import secrets
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

START_S = 90.0
"""How long the API server may take; it needs about ten seconds on two cores."""


@dataclass(frozen=True)
class ControlPlane:
    """Where the API server listens and who its administrator is."""

    url: str
    certificate: Path
    token: str

    @property
    def kubeconfig(self) -> str:
        """A kubeconfig of the administrator."""
        authority = base64.b64encode(self.certificate.read_bytes()).decode()
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {"name": "test", "cluster": {"server": self.url, "certificate-authority-data": authority}}
                ],
                "users": [{"name": "admin", "user": {"token": self.token}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
                "current-context": "test",
            }
        )


def assets() -> Path | None:
    """The folder with the binaries, or None where a contributor has none."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder:
        return None
    path = Path(folder)
    missing = [name for name in ("etcd", "kube-apiserver") if not (path / name).is_file()]
    assert not missing, f"KUBEBUILDER_ASSETS={folder} has no {', '.join(missing)}"
    return path


@contextmanager
def running(binaries: Path, work: Path) -> Iterator[ControlPlane]:
    """Start etcd and the API server with their state in ``work``; both end with the block."""
    client, peer, secure = _free_ports(3)
    etcd: list[str | Path] = [
        binaries / "etcd", "--data-dir", work / "etcd", "--unsafe-no-fsync",
        "--listen-client-urls", f"http://127.0.0.1:{client}", "--advertise-client-urls", f"http://127.0.0.1:{client}",
        "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
        "--initial-cluster", f"default=http://127.0.0.1:{peer}",
    ]  # fmt: skip
    plane = ControlPlane(f"https://127.0.0.1:{secure}", work / "certs" / "apiserver.crt", secrets.token_hex(16))
    (work / "tokens.csv").write_text(f'{plane.token},admin,admin,"system:masters"\n')
    _write_service_account_key(work / "service-accounts.pem")
    server: list[str | Path] = [
        binaries / "kube-apiserver", "--etcd-servers", f"http://127.0.0.1:{client}",
        "--bind-address", "127.0.0.1", "--secure-port", str(secure), "--cert-dir", work / "certs",
        "--token-auth-file", work / "tokens.csv", "--authorization-mode", "RBAC",
        "--service-account-key-file", work / "service-accounts.pem",
        "--service-account-signing-key-file", work / "service-accounts.pem",
        "--service-account-issuer", "https://kubernetes.default.svc", "--service-cluster-ip-range", "10.0.0.0/24",
        "--disable-admission-plugins", "ServiceAccount",  # nobody makes the default accounts' tokens here
    ]  # fmt: skip
    with _process(etcd, work / "etcd.log"), _process(server, work / "apiserver.log") as process:
        _await_ready(plane, process, work / "apiserver.log")
        yield plane


@contextmanager
def _process(command: list[str | Path], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


def _await_ready(plane: ControlPlane, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"kube-apiserver ended:\n{log.read_text()[-2000:]}"
        try:
            trusted = ssl.create_default_context(cafile=str(plane.certificate))
            request = urllib.request.Request(f"{plane.url}/readyz", headers={"Authorization": f"Bearer {plane.token}"})
            with urllib.request.urlopen(request, context=trusted, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"kube-apiserver was not ready within {START_S:g} s:\n{log.read_text()[-2000:]}")


def _write_service_account_key(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )


def _free_ports(count: int) -> list[int]:
    """Ports that were free together a moment ago."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
