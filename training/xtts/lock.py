"""``run.lock``: one process at a time trains a run, whichever node it is on.

File locks are not to be relied on across the nodes of a network volume. This lock is a file that its holder touches
every few seconds. Who waits goes by its own clock: a lock that nobody has touched for as long is taken over. A holder
that finds another's name in it, or could not touch it for as long, has lost it and must not write any more.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.errors import KubevoiceError
from serving.files import refusing, write_atomic

LOCK_FILE = "run.lock"
PERIOD_S = 10.0
"""Between two touches."""

PERIODS_TO_STALE = 6
REMINDER_S = 60.0

log = logging.getLogger(__name__)


class LockLost(KubevoiceError):
    """Another process has taken the run over; this one must not write to it."""

    code = "lock_lost"


class RunLock:
    """The lock of the run in ``directory``. ``with`` releases it; ``acquire`` first."""

    def __init__(self, directory: Path, *, period_s: float = PERIOD_S) -> None:
        self.path = directory / LOCK_FILE
        self.period_s = period_s
        self.owner = secrets.token_hex(8)
        self._leader: str | None = None
        self._stop = threading.Event()
        self._lost: str | None = None
        self._touched = 0.0
        self._thread: threading.Thread | None = None

    @property
    def stale_s(self) -> float:
        return self.period_s * PERIODS_TO_STALE

    def acquire(self, check: Callable[[], None] = lambda: None) -> str:
        """Wait until the run is free, or its holder has been silent for long; ``check`` may raise to give up waiting.

        Returns what ``follow`` takes. Raises StorageError.
        """
        seen, since, reminded = None, time.monotonic(), 0.0
        while not self._create():
            check()
            state = self._read()
            now = time.monotonic()
            if state != seen:
                seen, since = state, now
            if state is not None and (now - since > self.stale_s or _is_dead(state[0])):
                if self._take_over(state[0]):
                    break
                continue
            if not reminded or now - reminded > REMINDER_S:
                reminded = now
                log.info("another process has this run (%s); waiting until it ends", _describe(state))
            time.sleep(min(self.period_s / 4, 1.0))
        self._leader = self.owner
        self._touched = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name="run.lock", daemon=True)
        self._thread.start()
        return self.owner

    def follow(self, leader: str) -> None:
        """This process is of the run that ``leader`` has: another rank, which holds and releases nothing itself."""
        self._leader = leader

    @property
    def held(self) -> bool:
        """True from ``acquire`` on, until it is lost or released."""
        return self._thread is not None and self._lost is None

    def may_write(self) -> bool:
        """By a look at the file: the run is this process's or its leader's, or nobody's and never was theirs."""
        try:
            state = self._read()
        except OSError:
            return False
        if state is None or self._leader is None:
            return state is None and self._leader is None
        return self._lost is None and state[0].get("owner") == self._leader

    def confirm(self) -> None:
        """``check``, by a look at the file; for what must not happen twice."""
        self._look()
        self.check()

    def check(self) -> None:
        """Raise LockLost if another process has taken the run over, as far as the last touch could tell."""
        if self._lost is not None:
            raise LockLost(f"{self.path.parent} is no longer this process's: {self._lost}; it stops without writing")

    def release(self) -> None:
        """Give the run back, unless another has it by now."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        state = self._read()
        if state is not None and state[0].get("owner") == self.owner:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _create(self) -> bool:
        with refusing(self.path):
            try:
                descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                return False
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._content())
        return True

    def _content(self) -> bytes:
        return json.dumps({"owner": self.owner, **_identity()}).encode()

    def _read(self) -> tuple[dict[str, Any], int] | None:
        """What the lock says and when it was touched (ns); opened each time, since NFS caches what ``stat`` says."""
        try:
            with self.path.open("rb") as file:
                text, touched = file.read(), os.fstat(file.fileno()).st_mtime_ns
            content = json.loads(text or b"{}")
        except FileNotFoundError:
            return None
        except ValueError:
            content, touched = {}, 0
        return (content if isinstance(content, dict) else {}), touched

    def _take_over(self, stale: dict[str, Any]) -> bool:
        """Put our name in; of several who do so at once the last has it, the others see it half a period later."""
        log.warning("taking over this run from a process that is silent (%s)", _describe((stale, 0)))
        write_atomic(self.path, self._content())
        time.sleep(self.period_s / 2)
        state = self._read()
        return state is not None and state[0].get("owner") == self.owner

    def _beat(self) -> None:
        while not self._stop.wait(self.period_s):
            self._look()
            if time.monotonic() - self._touched > self.stale_s - self.period_s:
                self._lost = self._lost or "the volume has not answered for too long"
            if self._lost is not None:
                return

    def _look(self) -> None:
        """Touch the lock if it is ours. A touch takes no space, so a full volume does not lose the run."""
        try:
            state = self._read()
            if state is None or state[0].get("owner") != self.owner:
                self._lost = f"another has it ({_describe(state)})" if state else "its lock was deleted"
                return
            os.utime(self.path)
            self._touched = time.monotonic()
        except OSError as error:
            log.warning("cannot touch %s: %s", self.path, error)


def _identity() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pod": os.environ.get("POD_UID", ""),
        "pid": os.getpid(),
        "namespace": _namespace(),
        "started": _started(os.getpid()),
    }


def _namespace() -> str:
    """Where a process id means something: the boot of a kernel, and one of its PID namespaces; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in ticks since the boot; empty if there is none, or one that only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return ""


def _is_dead(content: dict[str, Any]) -> bool:
    """True if the holder was a process of this very machine and has gone, so that there is nothing to wait for."""
    try:
        here = _namespace()
        return here != "" and bool(content["namespace"] == here and _started(content["pid"]) != content["started"])
    except (KeyError, TypeError):
        return False


def _describe(state: tuple[dict[str, Any], int] | None) -> str:
    content = state[0] if state else {}
    return f"host {content.get('host', 'unknown')}, process {content.get('pid', 'unknown')}"
