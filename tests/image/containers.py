"""Builds images and runs containers with podman or docker, for the slow tests."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 240.0
LOCKED_DOWN = (
    "--read-only",
    "--tmpfs=/tmp:rw,noexec,nosuid,nodev",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
"""What a careful platform allows: nothing but /tmp and volumes can be written."""


@dataclass(frozen=True)
class Builder:
    """The command of podman or docker."""

    name: str

    def __call__(self, *arguments: str, timeout_s: float = 120.0, check: bool = True) -> str:
        """Standard output; raises AssertionError with everything printed when the command fails."""
        result = subprocess.run(
            [self.name, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False, errors="replace"
        )
        said = f"{self.name} {shlex.join(arguments)}:\n{result.stdout}{result.stderr}"
        assert not check or result.returncode == 0, said
        return result.stdout

    def has(self, image: str) -> bool:
        """Whether ``image`` is on this machine, or can be pulled."""
        for attempt in (["image", "inspect", image], ["pull", "--quiet", image]):
            try:
                self(*attempt)
            except (AssertionError, subprocess.TimeoutExpired):
                continue
            return True
        return False

    def build(self, tag: str, *options: str, context: Path = ROOT, timeout_s: float = 3600.0) -> str:
        """Build ``context`` as ``tag``, with the options of TEST_IMAGE_BUILD_OPTIONS."""
        extra = shlex.split(os.environ.get("TEST_IMAGE_BUILD_OPTIONS", ""))
        form = ["--format=docker"] if self.name == "podman" else []  # OCI's form has no HEALTHCHECK
        self("build", *form, *extra, *options, f"--tag={tag}", str(context), timeout_s=timeout_s)
        return tag

    def run(self, image: str, *command: str, options: tuple[str, ...] = LOCKED_DOWN) -> str:
        """What ``command`` prints in a new container of ``image``."""
        return self("run", "--rm", *options, image, *command)


def find_builder() -> Builder | None:
    """podman or docker, whichever works here."""
    for name in ("podman", "docker"):
        if shutil.which(name) and not subprocess.run([name, "ps"], capture_output=True, check=False).returncode:
            return Builder(name)
    return None


@dataclass(frozen=True)
class Container:
    """A running container that serves on a published port."""

    builder: Builder
    name: str

    @property
    def url(self) -> str:
        """Where it serves; a restart may choose another port."""
        return f"http://{self.builder('port', self.name, '8000').split()[0]}"

    def exec(self, *command: str) -> str:
        """What ``command`` prints inside."""
        return self.builder("exec", self.name, *command)

    def state(self) -> dict[str, object]:
        """Its state as the engine knows it: Running, ExitCode and more."""
        found: dict[str, object] = json.loads(self.builder("inspect", "--format", "{{json .State}}", self.name))
        return found

    def health(self) -> str:
        """healthy, unhealthy or starting; podman without systemd checks only when it is asked."""
        if self.builder.name == "podman":
            self.builder("healthcheck", "run", self.name, check=False)
        template = "{{.State.Healthcheck.Status}}" if self.builder.name == "podman" else "{{.State.Health.Status}}"
        return self.builder("inspect", "--format", template, self.name).strip()

    def logs(self) -> str:
        """Everything printed so far."""
        result = subprocess.run([self.builder.name, "logs", self.name], capture_output=True, text=True, check=False)
        return result.stdout + result.stderr


@contextmanager
def serving(builder: Builder, image: str, *options: str) -> Iterator[Container]:
    """The image as it starts by itself, on a free port of loopback, with a new volume; both are removed at the end."""
    name = f"kubevoice-test-{secrets.token_hex(4)}"
    arguments = [*LOCKED_DOWN, f"--volume={name}:/data", "--publish=127.0.0.1::8000", *options]
    builder("run", "--detach", f"--name={name}", *arguments, image)
    try:
        yield wait_until_ready(Container(builder, name))
    finally:
        builder("rm", "--force", name)
        builder("volume", "rm", "--force", name)


def wait_until_ready(container: Container) -> Container:
    """``container``, once it can speak; raises AssertionError with what it printed if it ends before."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and container.state()["Running"]:
        try:
            if httpx.get(f"{container.url}/readyz", timeout=5).is_success:
                return container
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"the container did not become ready; it printed:\n{container.logs()}")
