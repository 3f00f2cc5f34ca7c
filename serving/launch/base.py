"""What a launcher is, whatever runs the commands: a Kubernetes Job each, or a supervised process of this machine."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from serving.errors import InvalidRequest

State = Literal["queued", "suspended", "running", "succeeded", "failed", "stopped"]
"""``stopped``: told to, and still known, as local runs are; Kubernetes forgets a Job that is stopped."""

Kind = Literal["training", "dataset"]
"""What a run is for; on a cluster each has a template of its own, and that of a dataset takes no GPU."""

EXIT_CODES = {
    42: "bad configuration",
    43: "out of GPU memory",
    137: "killed",
    143: "told to stop, as preemption and drained nodes do",
}
"""What exit codes mean, beside 0; other ones are the command's own."""

FINAL_CODES = (42, 43)
"""Exit codes after which another try would end the same way."""

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True)
class Run:
    """A run at one moment.

    ``reason`` says why it waits, failed or starts again; empty where there is nothing to say. ``exit_code`` is that of
    the last attempt that ended, or of the pod that made it fail, None where there was none or nothing is left of it.
    ``pod`` is the last one whose command has started, of several nodes' the first's, which alone writes. ``uid`` tells
    the run from others that had its name.
    """

    name: str
    state: State
    reason: str
    exit_code: int | None
    pod: str | None
    created_at: datetime
    uid: str

    @property
    def finished(self) -> bool:
        return self.state in {"succeeded", "failed", "stopped"}


class Watch:
    """Ends a followed log from another thread: whoever reads it calls ``close`` when nobody listens any more."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._unblock: Callable[[], object] | None = None

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        """End it; a read that is waiting for a line returns."""
        self._closed.set()
        with self._lock:
            if self._unblock is not None:
                self._unblock()

    def sleep(self, seconds: float) -> None:
        """Pause, but not beyond ``close``."""
        self._closed.wait(seconds)

    @contextmanager
    def unblocking(self, unblock: Callable[[], object]) -> Iterator[None]:
        """While the block waits for lines, ``close`` calls ``unblock``."""
        with self._lock:
            self._unblock = unblock
        try:
            if self.closed:
                unblock()
            yield
        finally:
            with self._lock:
                self._unblock = None


class RunLauncher(Protocol):
    """Starts, lists, follows and stops runs. Synchronous, and safe to use from several threads.

    Every method may raise ConfigurationError (no right, no or a bad template) and Unavailable (no answer).
    """

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        kind: Kind = "training",
    ) -> Run:
        """Start ``command`` as run ``name``.

        Raises InvalidRequest (a name, command or variable that cannot be used), Conflict (the name is taken: a start
        that is repeated after a lost answer never starts a second run) and Overloaded (a quota).
        """

    def runs(self, labels: Mapping[str, str] | None = None) -> list[Run]:
        """Every run that has ``labels``, oldest first."""

    def status(self, name: str) -> Run:
        """Run ``name``; raises NotFound."""

    def changes(self, name: str) -> Iterator[Run]:
        """Run ``name`` whenever something about it has changed, until it has finished."""

    def logs(
        self, name: str, *, follow: bool = False, tail: int | None = None, watch: Watch | None = None
    ) -> Iterator[str]:
        """The lines that the last attempt of run ``name`` wrote, or the last ``tail`` of them, read as they are taken;
        with ``follow`` until it ends or ``watch`` closes. A line that is very long comes as several.

        Raises NotFound, and Unavailable where nothing has been written yet.
        """

    def stop(self, name: str) -> None:
        """Stop run ``name``, or forget it where it has ended; its files stay. Raises NotFound."""

    def ending(self, name: str) -> bool:
        """Whether run ``name``, which was stopped, is still at work: it saves what it has."""


def changes(look: Callable[[], Run], poll_s: float) -> Iterator[Run]:
    """What ``look`` sees whenever it is something else than before, until the run has finished."""
    last = None
    while last is None or not last.finished:
        run = look()
        if run != last:
            yield run
        last = run
        if not run.finished:
            time.sleep(poll_s)


def check_name(name: str) -> None:
    """Raises InvalidRequest unless Kubernetes takes ``name`` for a Job, its pods and a label."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"the name {name!r} cannot be used: write at most 63 lower-case letters, digits and hyphens, "
            "with a letter or digit first and last",
            param="name",
        )


def label_value(text: str) -> str:
    """``text`` if Kubernetes takes it for the value of a label, else a digest of it, which is the same every time."""
    return text if LABEL_VALUE.fullmatch(text) else hashlib.sha256(text.encode()).hexdigest()[:32]


def spoken(line: str) -> str:
    """What a line of a log says: of one that is JSON its message, else the line itself."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return line.strip()


def exit_words(code: int) -> str:
    """``code`` and what it means."""
    return f"exit code {code}" + (f" ({EXIT_CODES[code]})" if code in EXIT_CODES else "")


def joined(*parts: str | None) -> str:
    """The parts that say something, with colons between them, on one line."""
    return ": ".join(" ".join(part.split()) for part in parts if part and part.strip())
