"""The folder of one local run: what is asked, what became of it, its output, and the lock of whoever works on it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from serving.files import write_atomic
from serving.launch.base import spoken

REQUEST, STATE, LOG, LOCK, STOP = "request.json", "state.json", "output.log", "lock", "stop"
SUPERVISOR_LOG = "supervisor.log"
TAIL_BYTES = 4096
GLANCE_S = 1.0
"""Longer than anyone holds the lock just to see whether it is free."""

FINAL = {"succeeded", "failed", "stopped"}


class Request(BaseModel):
    """``request.json``: the command and how often it is tried again after a crash, ``pause_s`` doubling between.

    ``grace_s`` is how long it may take to end after SIGTERM. ``at_once`` is how many runs may work at a time.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    uid: str
    command: list[str]
    env: dict[str, str]
    labels: dict[str, str]
    retries: int
    pause_s: float
    grace_s: float
    at_once: int
    created_at: AwareDatetime


class Said(BaseModel):
    """``state.json``: what the supervisor said last. ``pid`` is the supervisor's, ``command_pid`` the command's."""

    model_config = ConfigDict(frozen=True)

    state: Literal["queued", "running", "succeeded", "failed", "stopped"]
    reason: str = ""
    exit_code: int | None = None
    attempts: int = 0
    pid: int
    command_pid: int | None = None
    at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))


class Folder:
    """The folder at ``path``.

    The lock is the kernel's, on a file that the supervisor and its command hold open: it is free when the last of them
    is gone, however they went, and no number of a process can be mistaken for another's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def request(self) -> Request | None:
        """None where there is no run."""
        try:
            return Request.model_validate_json((self.path / REQUEST).read_bytes())
        except (OSError, ValidationError):
            return None

    def said(self) -> Said | None:
        try:
            return Said.model_validate_json((self.path / STATE).read_bytes())
        except (OSError, ValidationError):
            return None

    def say(self, said: Said) -> None:
        """Raises StorageError."""
        write_atomic(self.path / STATE, said.model_dump_json().encode())

    @property
    def told_to_stop(self) -> bool:
        return (self.path / STOP).exists()

    @property
    def stop_reason(self) -> str:
        """Why it is told to stop."""
        try:
            return (self.path / STOP).read_text()
        except OSError:
            return ""

    def tell_to_stop(self, reason: str = "") -> None:
        """Raises StorageError."""
        if not self.told_to_stop:
            write_atomic(self.path / STOP, reason.encode())

    @property
    def alive(self) -> bool:
        """Whether a supervisor, or a command that has lost its own, is at work."""
        try:
            with (self.path / LOCK).open("r+b") as file:
                return not _lock(file, fcntl.LOCK_SH)  # for a moment, and beside others who ask
        except FileNotFoundError:
            return False

    def last_line(self) -> str:
        """What the last line of the output says that says something."""
        try:
            with (self.path / LOG).open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - TAIL_BYTES))
                lines = file.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        return spoken(next((line for line in reversed(lines) if line.strip()), ""))


@contextmanager
def locked(path: Path, *, create: bool = True, wait_s: float = 0.0) -> Iterator[IO[bytes] | None]:
    """The open file at ``path``, locked until the block and all who inherit it have ended; None if it stays taken."""
    descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
    with os.fdopen(descriptor, "r+b") as file:
        deadline = time.monotonic() + wait_s
        while not (taken := _lock(file, fcntl.LOCK_EX)) and time.monotonic() < deadline:
            time.sleep(0.02)
        yield file if taken else None


def _lock(file: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
