"""A Kubernetes API with the template in it, and a launcher that talks to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.launch import Launcher, connect
from tests.factories.kubernetes_api import TEMPLATE, KubernetesApi, kubeconfig, running_api


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    with running_api() as api:
        api.add_template()
        yield api


@pytest.fixture
def launcher(api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", api.url)))
    return Launcher(connect(), TEMPLATE, poll_s=0.02, patience_s=0.5)
