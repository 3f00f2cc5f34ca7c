"""``python -m training.xtts RUN_DIR``: the command of a training Job, and what its exit code says."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from serving.errors import ConfigurationError, KubevoiceError, ModelFilesError, RequestError
from serving.logs import configure_logging
from serving.settings import Settings, load_settings
from serving.store.training_files import RunStatus, read_status, write_status
from training.exits import BAD_CONFIGURATION, OUT_OF_GPU_MEMORY, STOPPED
from training.xtts.launcher import launch, nodes_from
from training.xtts.lock import LockLost, RunLock
from training.xtts.signals import StopFlag, Stopped
from training.xtts.table import markdown

FAILED = 1
OUT_OF_MEMORY = (
    "the GPU has too little memory for this run: set micro_batch_size lower (it is {size}; the result stays the same), "
    "gradient_checkpointing to true, or method to lora"
)

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Train the run of the command line; returns the exit code."""
    stop = StopFlag()
    stop.install()  # first of all: the imports of a trainer take seconds
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.settings:
        sys.stdout.write(markdown())
        return 0
    if options.run is None:
        parser.error("give the directory of a run")
    directory: Path = options.run
    lock = RunLock(directory)
    with contextlib.ExitStack() as ending:
        ending.callback(lock.release)
        return _run(directory, options.nproc, stop, lock, ending)


def _run(directory: Path, processes: int | None, stop: StopFlag, lock: RunLock, ending: contextlib.ExitStack) -> int:
    """The exit code of the run, which has been told in status.json; other ranks hear of it by ``ending``."""
    try:
        settings = load_settings()
        configure_logging(settings.log, ("serving", "training"))
        if "WORLD_SIZE" not in os.environ:
            nodes = nodes_from(os.environ, processes, _gpus(settings, processes, os.environ))
            if nodes.world > 1:
                return launch([sys.executable, "-m", "training.xtts", str(directory)], nodes, stop)
        _train(directory, settings, stop, lock, ending)
    except Stopped:
        log.info("stopped; the same command goes on from here")
        _tell(directory, lock, "stopped", None)
        return STOPPED
    except Exception as error:  # noqa: BLE001 - whatever it is has its exit code and its sentence
        return _failed(error, directory, lock)
    return 0


def _failed(error: Exception, directory: Path, lock: RunLock) -> int:
    """Say what went wrong, in the log and in status.json; the exit code that goes with it."""
    if isinstance(error, LockLost):
        log.error("%s", error)  # nothing is written: the run is another process's
        return FAILED
    if isinstance(error, KubevoiceError):
        log.error("%s", error)
        _tell(directory, lock, "failed", error.message)
        wrong = isinstance(error, RequestError | ConfigurationError | ModelFilesError)
        return BAD_CONFIGURATION if wrong else FAILED
    if _is_out_of_gpu_memory(error):
        sentence = OUT_OF_MEMORY.format(size=_micro_batch_size(directory))
        log.error("%s", sentence)
        _tell(directory, lock, "failed", sentence)
        return OUT_OF_GPU_MEMORY
    log.error("training failed", exc_info=error)
    _tell(directory, lock, "failed", f"{type(error).__name__}: {error}", last_word=False)
    return FAILED


def _train(directory: Path, settings: Settings, stop: StopFlag, lock: RunLock, ending: contextlib.ExitStack) -> None:
    from training.xtts.run import open_run

    run = open_run(directory, os.environ)
    import torch

    from serving.engines.xtts.device import select_device
    from training.xtts.distributed import join, place
    from training.xtts.trainer import train

    _, _, local_rank = place(os.environ)
    name = settings.xtts.device
    if name in ("auto", "cuda") and torch.cuda.device_count() > 1:
        name = f"cuda:{local_rank}"
    device = select_device(name, fallback_cpu=settings.xtts.fallback_cpu)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        if run.settings.precision != "float32":
            torch.set_float32_matmul_precision("high")
    group = join(device.type)
    ending.callback(group.leave)  # once it is told why: rank 0 then ends for want of the others and gives the run back
    train(run, group, device, stop, lock)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Another try of a Job would not change the command line, so it is no usual error of one."""
        self.print_usage(sys.stderr)
        self.exit(BAD_CONFIGURATION, f"error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m training.xtts", description="Fine-tune XTTS; see docs/training.md.")
    parser.add_argument(
        "run", type=Path, nargs="?", help="<data directory>/training/<tenant>/<run>, which holds run.json"
    )
    parser.add_argument("--settings", action="store_true", help="print the settings of run.json and end")
    parser.add_argument("--nproc", type=int, help="processes on this node; the default is one for each GPU")
    return parser


def _gpus(settings: Settings, processes: int | None, environment: Mapping[str, str]) -> int:
    """GPUs to take where nothing says how many processes to start."""
    if processes is not None or environment.get("NPROC_PER_NODE") or settings.xtts.device not in ("auto", "cuda"):
        return 0
    import torch

    return int(torch.cuda.device_count())


def _is_out_of_gpu_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError)


def _micro_batch_size(directory: Path) -> object:
    from training.xtts.run import open_run

    try:
        return open_run(directory, os.environ).settings.micro_batch_size
    except KubevoiceError:
        return "unknown"


def _tell(directory: Path, lock: RunLock, state: str, error: str | None, *, last_word: bool = True) -> None:
    """Write how it ended to status.json, as far as that is possible, unless the run is another process's.

    Any rank may: the one that failed knows why. One that only lost its connection does not have the ``last_word``.
    """
    if not directory.is_dir() or not lock.may_write():
        return
    now = datetime.now(UTC)
    before = read_status(directory) or RunStatus(state="preparing", started_at=now, updated_at=now)
    if not last_word and before.state == "failed":
        return
    fields = {**before.model_dump(), "state": state, "error": error, "eta_s": None, "updated_at": now}
    with contextlib.suppress(KubevoiceError):
        write_status(directory, RunStatus.model_validate(fields))
