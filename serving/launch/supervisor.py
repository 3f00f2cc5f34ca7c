"""``python -m serving.launch.supervisor FOLDER``: runs one command to its end, apart from whoever asked for it.

It lives in a session of its own and is nobody's child, so that it survives the server. It waits for its turn, tries
the command again after a crash as the chart's Job does, and writes down what became of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from serving.errors import StorageError
from serving.launch.base import FINAL_CODES, exit_words, joined
from serving.launch.folder import FINAL, GLANCE_S, LOCK, LOG, Folder, Request, Said, locked

TAKEN = 3
"""Exit code of a supervisor whose run has one already."""

POLL_S = 0.2
KILLED = 137
STOPPED = 143
LAST_WORD_TRIES = 60
"""Seconds for which the end of a run is written again and again: the volume may be full for a moment."""

PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)


def main(path: Path) -> int:
    """Supervise the run in folder ``path`` in a process of its own; returns once that has the run's lock."""
    folder = Folder(path)
    with locked(path / LOCK, wait_s=GLANCE_S) as lock:
        if lock is None:
            return TAKEN
        said = folder.said()
        if said is not None and said.state in FINAL:
            return 0
        if os.fork():
            return 0
        try:
            request = folder.request()
            assert request, f"{path} has no request"
            Supervisor(folder, request, lock).run()
        except BaseException:
            log.exception("the supervisor of %s failed", path.name)
        os._exit(0)


class Supervisor:
    """The work on one run, whose ``lock`` it holds."""

    def __init__(self, folder: Folder, request: Request, lock: IO[bytes]) -> None:
        self._folder = folder
        self._request = request
        self._lock = lock
        self._attempts = 0
        self._terminated = threading.Event()
        self._never_before: set[str] = set()

    def run(self) -> None:
        """Wait for a turn, then try until the command has ended for good."""
        signal.signal(signal.SIGTERM, self._terminate)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the server's to pass on
        with self._turn() as slot:
            if slot is None:
                self._end("stopped", joined(self._folder.stop_reason, "stopped before its turn"))
                return
            self._try(slot)

    def _try(self, slot: IO[bytes]) -> None:
        pause_s = self._request.pause_s
        while True:
            self._attempts += 1
            code = self._attempt(slot)
            if code == 0:
                return self._end("succeeded", "", code)
            if self._is_stopping():
                late = f"killed: it had not ended {self._request.grace_s:g} s after SIGTERM" if code == KILLED else ""
                return self._end("stopped", joined(self._folder.stop_reason, late), code)
            why = joined(exit_words(code), self._folder.last_line())
            if code in FINAL_CODES or self._attempts > self._request.retries:
                tries = f" ({self._attempts} attempts)" if self._attempts > 1 else ""
                return self._end("failed", why + tries, code)
            self._say("queued", joined("starts again", why), code)
            self._pause(pause_s)
            pause_s *= 2
            if self._is_stopping():
                return self._end("stopped", why, code)

    def _attempt(self, slot: IO[bytes]) -> int:
        """Run the command once; its exit code, as a shell counts."""
        with (self._folder.path / LOG).open("ab") as output:
            try:
                process = subprocess.Popen(  # noqa: S603 - the command that was asked for
                    self._request.command,
                    env={**os.environ, **self._request.env},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                    pass_fds=(self._lock.fileno(), slot.fileno()),  # an orphan keeps its run and its turn
                    preexec_fn=_end_with_parent,  # noqa: PLW1509 - no other thread is here
                )
            except OSError as error:
                output.write(f"{self._request.command[0]}: {error.strerror}\n".encode())
                return 127 if isinstance(error, FileNotFoundError) else 126
        self._say("running", "", command_pid=process.pid)
        try:
            return self._wait(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what a command that was killed has left behind

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        deadline = None
        while process.poll() is None:
            if self._is_stopping() and deadline is None:
                deadline = time.monotonic() + self._request.grace_s
                process.terminate()
            if deadline is not None and time.monotonic() > deadline:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
        code: int = process.returncode
        return code if code >= 0 else 128 - code

    def _is_stopping(self) -> bool:
        return self._terminated.is_set() or self._folder.told_to_stop

    def _terminate(self, _number: int, _frame: object) -> None:
        self._terminated.set()

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._is_stopping():
            time.sleep(min(POLL_S, seconds))

    @contextmanager
    def _turn(self) -> Iterator[IO[bytes] | None]:
        """One of the places for runs that work, in order of asking; None if the run is stopped before there is one."""
        told = None
        while not self._is_stopping():
            before = self._before_me()
            if not before:
                with self._free_slot() as slot:
                    if slot is not None:
                        yield slot
                        return
            reason = f"waits for {before} to end" if before else "waits for another run to end"
            if reason != told:
                told = reason
                self._say("queued", reason)
            time.sleep(POLL_S)
        yield None

    @contextmanager
    def _free_slot(self) -> Iterator[IO[bytes] | None]:
        for number in range(self._request.at_once):
            with locked(self._folder.path.parent / f"slot-{number}.lock") as slot:
                if slot is not None:
                    yield slot
                    return
        yield None

    def _before_me(self) -> str:
        """A run that has waited for longer; empty where there is none."""
        mine = (self._request.created_at, self._request.name)
        for path in self._folder.path.parent.iterdir():
            if path.name in self._never_before or path.name[0] == ".":
                continue
            other = Folder(path)
            request, said = other.request(), other.said()
            has_begun = said is not None and (said.state != "queued" or said.attempts > 0)
            if request is None or (request.created_at, request.name) >= mine or has_begun:
                self._never_before.add(path.name)  # years of ended runs are read once, not five times a second
            elif not other.told_to_stop and other.alive:
                return request.name
        return ""

    def _say(self, state: str, reason: str, code: int | None = None, command_pid: int | None = None) -> None:
        try:
            self._folder.say(self._said(state, reason, code, command_pid))
        except StorageError as error:
            log.warning("%s", error)

    def _end(self, state: str, reason: str, code: int | None = None) -> None:
        for _ in range(LAST_WORD_TRIES):
            try:
                self._folder.say(self._said(state, reason, code))
            except StorageError as error:
                log.warning("%s", error)
                time.sleep(1)
            else:
                return

    def _said(self, state: str, reason: str, code: int | None, command_pid: int | None = None) -> Said:
        facts = {"state": state, "reason": reason, "exit_code": code, "attempts": self._attempts}
        return Said.model_validate({**facts, "pid": os.getpid(), "command_pid": command_pid})


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM to the command when its supervisor is killed: it saves and does not go on alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s")
    sys.exit(main(Path(sys.argv[1])))
