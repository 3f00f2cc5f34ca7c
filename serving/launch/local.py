"""Runs without Kubernetes: processes of this machine, each with a supervisor that survives the server."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from serving.errors import Conflict, InvalidRequest, NotFound, Unavailable
from serving.files import fsync_directory, refusing, write_atomic
from serving.launch.base import Kind, Run, Watch, changes, check_name
from serving.launch.folder import FINAL, GLANCE_S, LOCK, LOG, REQUEST, SUPERVISOR_LOG, Folder, Request, Said, locked
from serving.launch.lines import Lines, seek_last

FOLDER = "launch"
"""Where the runs are, below the data directory."""

SPAWN_S = 60.0
FIRST_PAUSE_S = 10.0
"""Before the second try; Kubernetes' own (https://kubernetes.io/docs/concepts/workloads/controllers/job/)."""

KILLED = "its process is gone without a word: killed, or the machine was switched off; what it saved is there"
READ_BYTES = 64 * 1024


class LocalLauncher:
    """The runs below ``root``. ``env`` is what every command gets beside this process's own environment.

    ``at_once`` runs work at a time, the others wait; ``retries`` and ``pause_s``: how often and after how many seconds,
    doubling, a command that crashed is started again; ``grace_s``: how long it may take to end when it is stopped.
    """

    def __init__(
        self,
        root: Path,
        *,
        env: Mapping[str, str] | None = None,
        at_once: int = 1,
        retries: int = 3,
        grace_s: float = 300.0,
        pause_s: float = FIRST_PAUSE_S,
        poll_s: float = 0.5,
    ) -> None:
        self.root = root
        self._env = dict(env or {})
        self._at_once, self._retries, self._grace_s, self._pause_s = at_once, retries, grace_s, pause_s
        self._poll_s = poll_s

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        kind: Kind = "training",
    ) -> Run:
        """Start ``command`` as run ``name``; ``python`` is the one that runs the server, whatever the ``kind``.

        Raises InvalidRequest, Conflict (the name is taken: a start that is repeated never starts a second run),
        StorageError and Unavailable.
        """
        check_name(name)
        if not command or not command[0]:
            raise InvalidRequest("there is no command to run; write it after --", param="command")
        folder = Folder(self.root / name)
        made = self._made(folder, self._request(name, command, env or {}, labels or {}))
        if not made and (folder.said() is not None or folder.alive):
            raise _taken(name)
        self._supervise(folder)  # also where whoever made the folder was killed before this
        if not made:
            raise _taken(name)
        return self.status(name)

    def runs(self, labels: Mapping[str, str] | None = None) -> list[Run]:
        """Every run that has ``labels``, oldest first."""
        wanted = (labels or {}).items()
        found = [(folder, folder.request()) for folder in self._folders()]
        runs = [_run(folder, request) for folder, request in found if request and wanted <= request.labels.items()]
        return sorted(runs, key=lambda run: (run.created_at, run.name))

    def status(self, name: str) -> Run:
        """Run ``name``; raises NotFound."""
        folder, request = self._known(name)
        return _run(folder, request)

    def changes(self, name: str) -> Iterator[Run]:
        """Run ``name`` whenever something about it has changed, until it has finished."""
        return changes(lambda: self.status(name), self._poll_s)

    def logs(
        self, name: str, *, follow: bool = False, tail: int | None = None, watch: Watch | None = None
    ) -> Iterator[str]:
        """The lines that run ``name`` wrote, in all its attempts, or the last ``tail`` of them; with ``follow`` until
        it ends or ``watch`` closes.

        Raises NotFound, and Unavailable where nothing has been written yet.
        """
        run = self.status(name)
        if run.pod is None:
            raise Unavailable(f"run {name!r} has no log: {run.reason or 'its command has not started'}")
        return self._lines(name, follow=follow, tail=tail, watch=watch or Watch())

    def stop(self, name: str) -> None:
        """Stop run ``name``, or forget it where it has ended; the files that it made stay. Raises NotFound."""
        folder, request = self._known(name)
        if _run(folder, request).finished:
            with suppress(FileNotFoundError), locked(folder.path / LOCK, wait_s=GLANCE_S) as lock:
                if lock is not None:  # its supervisor, which has said its last word, has gone too
                    shutil.rmtree(folder.path, ignore_errors=True)
                    return
            if not folder.path.is_dir():
                return  # another process was faster
        folder.tell_to_stop()
        if folder.said() is None:  # perhaps it will never have a supervisor
            with locked(folder.path / LOCK, wait_s=GLANCE_S) as lock:
                if lock is not None and folder.said() is None:
                    folder.say(Said(state="stopped", reason="stopped before its turn", pid=os.getpid()))

    def ending(self, name: str) -> bool:
        """Whether run ``name``, which was stopped, is still at work: it saves what it has."""
        check_name(name)
        return Folder(self.root / name).alive

    def stop_all(self, wait_s: float, reason: str = "") -> list[str]:
        """Stop every run and wait until it has saved and ended, but not longer than ``wait_s``; the names of all."""
        alive = [folder for folder in self._folders() if folder.alive]
        for folder in alive:
            folder.tell_to_stop(reason)
        deadline = time.monotonic() + wait_s
        while any(folder.alive for folder in alive) and time.monotonic() < deadline:
            time.sleep(self._poll_s)
        return [folder.path.name for folder in alive]

    def working(self) -> list[str]:
        """The names of the runs that are at work or wait."""
        return sorted(folder.path.name for folder in self._folders() if folder.alive)

    def _request(self, name: str, command: Sequence[str], env: Mapping[str, str], labels: Mapping[str, str]) -> Request:
        program = sys.executable if command[0] in ("python", "python3") else command[0]
        return Request(
            name=name,
            uid=secrets.token_hex(8),
            command=[program, *command[1:]],
            env={**self._env, **env},
            labels=dict(labels),
            retries=self._retries,
            pause_s=self._pause_s,
            grace_s=self._grace_s,
            at_once=self._at_once,
            created_at=datetime.now(UTC),
        )

    def _made(self, folder: Folder, request: Request) -> bool:
        """Make the run's folder at once and whole; False if there is one."""
        new = self.root / f".{request.name}.{request.uid}"
        with refusing(folder.path):
            new.mkdir(parents=True)
            try:
                write_atomic(new / REQUEST, request.model_dump_json(indent=2).encode())
                try:
                    new.rename(folder.path)
                except OSError:
                    if folder.request() is None:
                        raise
                    return False
                fsync_directory(self.root)
            finally:
                shutil.rmtree(new, ignore_errors=True)
        return True

    def _supervise(self, folder: Folder) -> None:
        """Start the supervisor; when this returns it has the run's lock, or another one had it before."""
        command = [sys.executable, "-m", "serving.launch.supervisor", str(folder.path)]
        try:
            with (folder.path / SUPERVISOR_LOG).open("ab") as output:
                process = subprocess.Popen(  # noqa: S603 - ourselves
                    command,
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            process.wait(SPAWN_S)  # it forks and leaves
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"the supervisor of {folder.path.name} cannot be started: {error}", 10) from error

    def _folders(self) -> list[Folder]:
        if not self.root.is_dir():
            return []
        return [
            Folder(path) for path in sorted(self.root.iterdir()) if (path / REQUEST).is_file() and path.name[0] != "."
        ]

    def _known(self, name: str) -> tuple[Folder, Request]:
        check_name(name)
        folder = Folder(self.root / name)
        request = folder.request()
        if request is None:
            raise NotFound(f"there is no run {name!r} on this machine", param="name")
        return folder, request

    def _lines(self, name: str, *, follow: bool, tail: int | None, watch: Watch) -> Iterator[str]:
        folder, lines = Folder(self.root / name), Lines()
        with _log(folder) as file:
            if tail is not None:
                seek_last(file, tail)
            while not watch.closed:
                last = not follow or not folder.alive
                while data := file.read(READ_BYTES):
                    for line, _ in lines.feed(data):
                        yield line.decode(errors="replace")
                if last:
                    break
                watch.sleep(self._poll_s)
        if rest := lines.rest():
            yield rest.decode(errors="replace")


def _log(folder: Folder) -> IO[bytes]:
    try:
        return (folder.path / LOG).open("rb")
    except FileNotFoundError:
        raise NotFound(f"the log of {folder.path.name} is gone: the run was forgotten", param="name") from None


def _run(folder: Folder, request: Request, *, alive: bool | None = None) -> Run:
    alive = folder.alive if alive is None else alive  # before what it said: its last words come before its end
    said = folder.said()
    state, reason = (said.state, said.reason) if said else ("queued", "starting")
    if said is not None and not alive and state not in FINAL:
        state, reason = ("stopped", folder.stop_reason) if folder.told_to_stop else ("failed", KILLED)
    elif alive and folder.told_to_stop and state not in FINAL:
        reason = "told to stop; it saves first"
    return Run(
        name=request.name,
        state=state,
        reason=reason,
        exit_code=said.exit_code if said else None,
        pod=request.name if said and said.attempts else None,
        created_at=request.created_at,
        uid=request.uid,
    )


def _taken(name: str) -> Conflict:
    return Conflict(f"a run named {name!r} exists already; choose another name, or stop that one first", param="name")


def _environment() -> dict[str, str]:
    """This process's environment without what Ray adds to a replica's: a trainer uses all of the machine."""
    added = {name for name in os.environ if name.startswith("RAY_")}
    if "OMP_NUM_THREADS" not in _at_start():
        added.add("OMP_NUM_THREADS")
    return {name: value for name, value in os.environ.items() if name not in added}


def _at_start() -> set[str]:
    """The variables that this process began with; all of them where the system does not say."""
    try:
        whole = Path("/proc/self/environ").read_bytes()
    except OSError:
        return set(os.environ)
    return {entry.partition(b"=")[0].decode(errors="replace") for entry in whole.split(b"\0")}
