"""Runs as supervised processes of this machine: real ones, killed for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from serving.errors import Conflict, InvalidRequest, NotFound, Unavailable
from serving.launch import Run, Watch
from serving.launch.folder import Folder
from serving.launch.local import LocalLauncher

WAIT_S = 30.0
SAVES = "trap 'echo saving; exit 143' TERM; echo began; while :; do sleep 0.05; done"


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[LocalLauncher]:
    launcher = LocalLauncher(tmp_path / "launch", retries=1, grace_s=5.0, pause_s=0.01, poll_s=0.02)
    yield launcher
    launcher.stop_all(WAIT_S)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def ended(launcher: LocalLauncher, name: str) -> Run:
    """Run ``name`` at its end, and nobody at work on it."""
    *_, last = launcher.changes(name)
    until(lambda: not launcher.ending(name))
    return last


def began(launcher: LocalLauncher, name: str) -> None:
    """Wait until the command of run ``name`` has said so."""
    log = launcher.root / name / "output.log"
    until(lambda: log.exists() and b"began" in log.read_bytes())


def pid_of_the_supervisor(launcher: LocalLauncher, name: str) -> int:
    said = Folder(launcher.root / name).said()
    assert said is not None
    return said.pid


def test_a_command_runs_to_its_end_and_its_output_is_kept(launcher: LocalLauncher) -> None:
    launcher.start("one", sh('echo "$WORD"; echo wrong >&2'), env={"WORD": "hello"})
    run = ended(launcher, "one")
    assert (run.state, run.reason, run.exit_code) == ("succeeded", "", 0)
    assert list(launcher.logs("one")) == ["hello", "wrong"]


def test_python_is_the_one_of_the_server(launcher: LocalLauncher) -> None:
    launcher.start("one", ["python", "-c", "import sys; print(sys.executable)"])
    assert ended(launcher, "one").state == "succeeded"
    assert list(launcher.logs("one")) == [sys.executable]


def test_a_command_gets_what_the_launcher_knows_but_not_what_ray_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_ID", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # not in the environment that this process began with
    launcher = LocalLauncher(tmp_path, env={"KUBEVOICE_DATA": "/here"}, poll_s=0.02)
    launcher.start("one", ["env"])
    ended(launcher, "one")
    written = set(launcher.logs("one"))
    assert "KUBEVOICE_DATA=/here" in written
    assert "RAY_JOB_ID=1" not in written
    if b"OMP_NUM_THREADS" not in Path("/proc/self/environ").read_bytes():
        assert "OMP_NUM_THREADS=1" not in written


def test_a_start_that_is_repeated_starts_nothing(launcher: LocalLauncher, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    launcher.start("one", sh(f"echo x >> {mark}"))
    with pytest.raises(Conflict, match="a run named 'one' exists already"):
        launcher.start("one", sh(f"echo y >> {mark}"))
    ended(launcher, "one")
    with pytest.raises(Conflict):
        launcher.start("one", sh(f"echo z >> {mark}"))
    assert mark.read_text() == "x\n"


def test_of_many_starts_at_once_one_starts(launcher: LocalLauncher, tmp_path: Path) -> None:
    mark, started = tmp_path / "mark", []

    def start() -> None:
        with suppress(Conflict):
            started.append(launcher.start("one", sh(f"echo x >> {mark}; sleep 0.2")))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1
    assert ended(launcher, "one").state == "succeeded"
    assert mark.read_text() == "x\n"


def test_a_start_that_was_killed_before_its_supervisor_is_made_good_by_the_next(launcher: LocalLauncher) -> None:
    class Killed(BaseException):
        pass

    class Dying(LocalLauncher):
        def _supervise(self, folder: Folder) -> None:
            raise Killed

    with pytest.raises(Killed):
        Dying(launcher.root).start("one", ["true"])
    assert (launcher.status("one").state, launcher.status("one").reason) == ("queued", "starting")
    with pytest.raises(Conflict):
        launcher.start("one", ["true"])
    assert ended(launcher, "one").state == "succeeded"


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "a_b"])
def test_a_name_that_kubernetes_would_refuse_is_refused_here_too(launcher: LocalLauncher, name: str) -> None:
    with pytest.raises(InvalidRequest, match="lower-case letters"):
        launcher.start(name, ["true"])
    with pytest.raises(InvalidRequest):
        launcher.status(name)


def test_a_crash_is_tried_again_and_then_told_with_the_last_line(launcher: LocalLauncher) -> None:
    launcher.start("one", sh("echo ValueError: no clips; exit 7"))
    run = ended(launcher, "one")
    assert (run.state, run.exit_code) == ("failed", 7)
    assert run.reason == "exit code 7: ValueError: no clips (2 attempts)"
    assert list(launcher.logs("one")) == ["ValueError: no clips"] * 2


def test_of_a_line_of_json_the_message_is_told(launcher: LocalLauncher) -> None:
    launcher.start("one", sh("""echo '{"level": "ERROR", "message": "the volume is full"}'; exit 42"""))
    assert ended(launcher, "one").reason == "exit code 42 (bad configuration): the volume is full"


def test_a_crash_that_does_not_happen_again_is_forgotten(launcher: LocalLauncher, tmp_path: Path) -> None:
    launcher.start("one", sh(f"mkdir {tmp_path}/first 2>/dev/null && kill -9 $$; exit 0"))
    assert ended(launcher, "one").state == "succeeded"


@pytest.mark.parametrize(("code", "words"), [(42, "bad configuration"), (43, "out of GPU memory")])
def test_what_another_try_would_not_change_is_not_tried_again(launcher: LocalLauncher, code: int, words: str) -> None:
    launcher.start("one", sh(f"echo x; exit {code}"))
    run = ended(launcher, "one")
    assert (run.state, run.exit_code, run.reason) == ("failed", code, f"exit code {code} ({words}): x")


def test_a_command_that_is_not_there_says_so(launcher: LocalLauncher) -> None:
    launcher.start("one", ["/nowhere/command"])
    run = ended(launcher, "one")
    assert (run.state, run.exit_code) == ("failed", 127)
    assert "/nowhere/command: No such file or directory" in run.reason


def test_stopping_lets_the_command_save(launcher: LocalLauncher) -> None:
    launcher.start("one", sh(SAVES))
    began(launcher, "one")
    launcher.stop("one")
    run = ended(launcher, "one")
    assert (run.state, run.exit_code) == ("stopped", 143)
    assert list(launcher.logs("one")) == ["began", "saving"]


def test_who_does_not_stop_in_time_is_killed_with_all_its_children(tmp_path: Path) -> None:
    launcher = LocalLauncher(tmp_path / "launch", grace_s=0.3, poll_s=0.02)
    launcher.start("one", sh("trap '' TERM; sleep 60 & echo $!; echo began; wait; wait"))
    began(launcher, "one")
    launcher.stop("one")
    run = ended(launcher, "one")
    assert (run.state, run.exit_code) == ("stopped", 137)
    assert run.reason == "killed: it had not ended 0.3 s after SIGTERM"
    child = int(next(launcher.logs("one")))
    until(lambda: not Path(f"/proc/{child}").exists())


def test_a_run_that_ended_is_forgotten_by_another_stop(launcher: LocalLauncher) -> None:
    launcher.start("one", ["true"])
    ended(launcher, "one")
    launcher.stop("one")
    with pytest.raises(NotFound, match="no run 'one' on this machine"):
        launcher.status("one")
    assert launcher.runs() == []


def test_one_works_at_a_time_and_the_others_wait_in_order(launcher: LocalLauncher, tmp_path: Path) -> None:
    order = tmp_path / "order"
    launcher.start("first", sh(f"echo began; until [ -e {tmp_path}/go ]; do sleep 0.02; done; echo 1 >> {order}"))
    began(launcher, "first")
    launcher.start("second", sh(f"echo 2 >> {order}"))
    launcher.start("third", sh(f"echo 3 >> {order}"))
    until(lambda: launcher.status("third").reason == "waits for second to end")
    assert launcher.status("second").reason == "waits for another run to end"
    with pytest.raises(Unavailable, match="run 'second' has no log: waits for another run to end"):
        launcher.logs("second")
    (tmp_path / "go").touch()
    assert [ended(launcher, name).state for name in ("first", "second", "third")] == ["succeeded"] * 3
    assert order.read_text() == "1\n2\n3\n"


def test_who_waits_can_be_stopped(launcher: LocalLauncher) -> None:
    launcher.start("first", sh(SAVES))
    began(launcher, "first")
    launcher.start("second", sh("echo never"))
    launcher.stop("second")
    run = ended(launcher, "second")
    assert (run.state, run.reason, run.pod) == ("stopped", "stopped before its turn", None)
    assert launcher.status("first").state == "running"


def test_a_run_survives_whoever_started_it(launcher: LocalLauncher) -> None:
    script = f"""
import os, signal, sys
from pathlib import Path
from serving.launch.local import LocalLauncher
LocalLauncher(Path({str(launcher.root)!r}), grace_s=5).start("one", ["sh", "-c", {SAVES!r}])
os.kill(os.getpid(), signal.SIGKILL)
"""
    server = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    assert server.wait(WAIT_S) == -signal.SIGKILL
    began(launcher, "one")
    supervisor = pid_of_the_supervisor(launcher, "one")
    assert launcher.status("one").state == "running"
    assert os.getsid(supervisor) not in (os.getsid(0), server.pid)
    with pytest.raises(Conflict):
        launcher.start("one", ["true"])
    launcher.stop("one")
    assert ended(launcher, "one").state == "stopped"


def test_a_command_whose_supervisor_is_killed_saves_and_is_not_run_twice(launcher: LocalLauncher) -> None:
    launcher.start("one", sh(SAVES))
    began(launcher, "one")
    os.kill(pid_of_the_supervisor(launcher, "one"), signal.SIGKILL)
    run = ended(launcher, "one")
    assert run.state == "failed"
    assert "gone without a word" in run.reason
    assert list(launcher.logs("one")) == ["began", "saving"]


def test_sigterm_to_the_supervisor_stops_the_run(launcher: LocalLauncher) -> None:
    launcher.start("one", sh(SAVES))
    began(launcher, "one")
    os.kill(pid_of_the_supervisor(launcher, "one"), signal.SIGTERM)
    assert ended(launcher, "one").state == "stopped"


def test_all_runs_are_stopped_and_waited_for(launcher: LocalLauncher) -> None:
    launcher.start("one", sh(SAVES))
    began(launcher, "one")
    launcher.start("two", sh(SAVES))
    assert launcher.working() == ["one", "two"]
    assert launcher.stop_all(WAIT_S) == ["one", "two"]
    assert launcher.working() == []
    assert [run.state for run in launcher.runs()] == ["stopped", "stopped"]


def test_runs_are_listed_by_label_oldest_first(launcher: LocalLauncher) -> None:
    for name, tenant in (("b", "acme"), ("a", "acme"), ("c", "other")):
        launcher.start(name, ["true"], labels={"kubevoice.io/tenant": tenant})
    assert [run.name for run in launcher.runs()] == ["b", "a", "c"]
    assert [run.name for run in launcher.runs({"kubevoice.io/tenant": "acme"})] == ["b", "a"]
    assert LocalLauncher(launcher.root / "none").runs() == []


def test_a_followed_log_comes_as_it_is_written_and_ends_with_the_run(launcher: LocalLauncher, tmp_path: Path) -> None:
    launcher.start("one", sh(f"echo began; until [ -e {tmp_path}/go ]; do sleep 0.02; done; printf half; echo ' done'"))
    began(launcher, "one")
    lines = launcher.logs("one", follow=True)
    assert next(lines) == "began"
    (tmp_path / "go").touch()
    assert list(lines) == ["half done"]


def test_closing_its_watch_ends_a_followed_log(launcher: LocalLauncher) -> None:
    launcher.start("one", sh(SAVES))
    began(launcher, "one")
    watch = Watch()
    lines = launcher.logs("one", follow=True, watch=watch)
    assert next(lines) == "began"
    threading.Timer(0.1, watch.close).start()
    assert list(lines) == []
    assert launcher.status("one").state == "running"
