"""The processes of one node: what they are told, and what their end means."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from serving.errors import ConfigurationError
from training.exits import BAD_CONFIGURATION, OUT_OF_GPU_MEMORY, STOPPED
from training.xtts.launcher import Nodes, launch, nodes_from
from training.xtts.signals import StopFlag

SLEEP = "import time; time.sleep(300)"
RANK = "import os, sys, time, signal; rank = int(os.environ['RANK'])\n"
OBEDIENT = RANK + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\nready(); time.sleep(300)"


def run(code: str, nodes: Nodes, stop: StopFlag | None = None) -> int:
    return launch([sys.executable, "-c", code], nodes, stop or StopFlag())


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_each_process_knows_its_rank_and_the_first_gets_the_socket(tmp_path: Path) -> None:
    code = f"""
import os, socket
e = os.environ
if e["RANK"] == "0":
    assert socket.socket(fileno=int(e["TRAINING_STORE_FD"])).getsockname() == (e["MASTER_ADDR"], int(e["MASTER_PORT"]))
open({str(tmp_path)!r} + "/" + e["RANK"], "w").write(f"{{e['LOCAL_RANK']}} {{e['WORLD_SIZE']}}")
"""
    assert run(code, Nodes(3)) == 0
    assert [(tmp_path / str(rank)).read_text() for rank in range(3)] == ["0 3", "1 3", "2 3"]


def test_ranks_count_on_over_nodes(tmp_path: Path) -> None:
    names = "RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT"
    code = f"""
import os
line = " ".join(os.environ[name] for name in {names!r}.split())
open({str(tmp_path)!r} + "/" + os.environ["LOCAL_RANK"], "w").write(line)
"""
    assert run(code, Nodes(2, nodes=3, node=2, address="run-0.run", port=29500)) == 0
    assert (tmp_path / "1").read_text() == "5 6 1 run-0.run 29500"


@pytest.mark.parametrize("code", [BAD_CONFIGURATION, OUT_OF_GPU_MEMORY, 7, STOPPED])
def test_the_first_that_ends_badly_decides_and_the_others_end(tmp_path: Path, code: int) -> None:
    script = RANK + f"open({str(tmp_path / 'pid')!r} + str(rank), 'w').write(str(os.getpid()))\n"
    script += f"sys.exit({code}) if rank == 1 else time.sleep(300)"
    assert run(script, Nodes(2)) == code
    pids = [int(path.read_text()) for path in tmp_path.iterdir() if path.read_text()]
    assert not any(alive(pid) for pid in pids)


def test_the_reason_is_worth_more_than_its_consequence() -> None:
    # Rank 0 only lost its connection; rank 1, a little later, says why.
    assert run(RANK + "sys.exit(1) if rank == 0 else (time.sleep(0.3), os._exit(43))", Nodes(2)) in (1, 43)
    late = (
        RANK + "signal.signal(signal.SIGTERM, lambda *_: os._exit(43))\nsys.exit(1) if rank == 0 else time.sleep(300)"
    )
    assert run(late.replace("sys.exit(1) if", "time.sleep(0.5) or sys.exit(1) if"), Nodes(2)) == OUT_OF_GPU_MEMORY


def test_a_killed_process_is_told_as_a_shell_tells_it() -> None:
    assert run(RANK + "os.kill(os.getpid(), 9) if rank else time.sleep(300)", Nodes(2)) == 137


def test_being_told_to_stop_reaches_all_and_waits_until_they_have_saved(tmp_path: Path) -> None:
    stop = StopFlag()
    script = f"def ready(): open({str(tmp_path)!r} + '/' + str(rank), 'w').close()\n" + OBEDIENT.replace(
        "sys.exit(143)", "(time.sleep(0.5), sys.exit(143))"
    )

    def tell() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.02)
        stop.is_set = True

    teller = threading.Thread(target=tell)
    teller.start()
    assert run(script, Nodes(2), stop) == STOPPED
    teller.join()


def test_a_signal_sets_the_flag_and_a_second_interrupt_is_one() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stop = StopFlag()
    try:
        stop.install()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_one_process_is_the_default() -> None:
    assert nodes_from({}, None, 0).world == 1


def test_a_node_takes_all_its_gpus_or_what_it_is_told() -> None:
    assert nodes_from({}, None, 4) == Nodes(4)
    assert nodes_from({"NPROC_PER_NODE": "2"}, None, 4) == Nodes(2)
    assert nodes_from({"NPROC_PER_NODE": "2"}, 3, 4) == Nodes(3)


def test_the_pods_of_an_indexed_job_are_nodes() -> None:
    variables = {"NNODES": "2", "JOB_COMPLETION_INDEX": "1", "RDZV_ENDPOINT": "run-0.runs:29401"}
    assert nodes_from(variables, None, 8) == Nodes(8, 2, 1, "run-0.runs", 29401)
    assert nodes_from({**variables, "NODE_RANK": "0"}, 1, 0) == Nodes(1, 2, 0, "run-0.runs", 29401)
    plain = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "5000"}
    assert nodes_from(plain, 1, 0) == Nodes(1, 2, 1, "10.0.0.1", 5000)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"NNODES": "two"}, "NNODES='two'"),
        ({"NPROC_PER_NODE": "0"}, "NPROC_PER_NODE='0'"),
        ({"NNODES": "2", "JOB_COMPLETION_INDEX": "0"}, "needs RDZV_ENDPOINT"),
        ({"NNODES": "2", "JOB_COMPLETION_INDEX": "2", "RDZV_ENDPOINT": "a"}, "this is node 2"),
        ({"NNODES": "2", "RDZV_ENDPOINT": "a:b"}, "RDZV_ENDPOINT='b'"),
    ],
)
def test_a_bad_variable_is_named(variables: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        nodes_from(variables, None, 0)
