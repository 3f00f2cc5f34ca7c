"""The image, built once for the slow tests. docs/image.md tells what they need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.containers import ROOT, Builder, Container, find_builder, serving
from tests.image.dockerfile import parse

TAG = "localhost/kubevoice:test"


@pytest.fixture(scope="session")
def builder() -> Builder:
    """podman or docker; the test is skipped where neither works."""
    found = find_builder()
    if found is None:
        pytest.skip("neither podman nor docker works on this machine")
    return found


@pytest.fixture(scope="session")
def base(builder: Builder) -> str:
    """The Dockerfile's base image; the test is skipped where it cannot be had."""
    name, _ = parse((ROOT / "Dockerfile").read_text()).stages()[0]
    if not builder.has(name):
        pytest.skip(f"the base image {name} is neither here nor can it be pulled")
    return name


@pytest.fixture(scope="session")
def image(builder: Builder, request: pytest.FixtureRequest) -> str:
    """TEST_IMAGE where it is set, else the image of this checkout, built."""
    if ready := os.environ.get("TEST_IMAGE"):
        return ready
    request.getfixturevalue("base")
    return builder.build(TAG, "--build-arg=VERSION=test", "--build-arg=REVISION=0000000")


@pytest.fixture(scope="session")
def server(builder: Builder, image: str) -> Iterator[Container]:
    """The image serving with espeak, for the tests that leave it running."""
    with serving(builder, image, "--env=KUBEVOICE_ENGINE=espeak") as container:
        yield container


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """An empty build context with our .dockerignore."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / ".dockerignore").write_text((ROOT / ".dockerignore").read_text())
    return folder
