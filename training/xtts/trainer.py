"""A run from its directory to its export, on one rank of it."""

from __future__ import annotations

from contextlib import ExitStack

import torch

from serving.store.dataset_files import read_dataset
from training.xtts import lora
from training.xtts.base import configure
from training.xtts.board import Board
from training.xtts.checkpoints import Checkpoints
from training.xtts.choice import plan_digest
from training.xtts.distributed import Group
from training.xtts.leader import Leader
from training.xtts.lock import RunLock
from training.xtts.loop import Calls, Loop
from training.xtts.metrics import Metrics
from training.xtts.optimizer import make_optimizer
from training.xtts.position import Position
from training.xtts.prepare import prepare
from training.xtts.progress import Display, stopping
from training.xtts.resume import resume
from training.xtts.run import Run
from training.xtts.signals import StopFlag
from training.xtts.status import Status
from training.xtts.step import Stepper
from training.xtts.validation import Validation, rewind


def train(run: Run, group: Group, device: torch.device, stop: StopFlag, lock: RunLock) -> None:
    """Train ``run`` to its end and export it.

    Rank 0 takes ``lock``, which the caller releases, and writes everything. Raises Stopped when told to stop, with
    everything saved, and otherwise errors of ``serving.errors``.
    """
    with ExitStack() as stack:
        display = Display(visible=group.leads)
        stack.callback(display.close)
        lock.follow(group.lead(lambda: lock.acquire(stop.check)))
        status = Status(run.directory, lock.check) if group.leads else None
        if status is not None:
            status.tell(epochs=run.settings.epochs, device=str(device))
        dataset = read_dataset(run.dataset)
        prepared = prepare(run, group, device, stopping(display.preparing, stop.check))
        gpt = prepared.base.gpt
        configure(gpt, run.settings)
        if run.settings.method == "lora":
            lora.add(gpt, run.settings.lora_rank, run.settings.seed)
        optimizer = make_optimizer(gpt, run.settings)
        checkpoints, plan = Checkpoints(run.directory), plan_digest(prepared.train, run.settings)
        position = resume(checkpoints, group, gpt, optimizer, run.settings, plan)
        leader: Leader | None = None
        if status is not None:
            metrics, board = _rewound(run, position)
            validation = Validation(run, prepared.base, prepared.val, prepared.clips, board, stop.check)
            leader = Leader(
                run, dataset, prepared, optimizer, plan, lock, status, display, checkpoints, metrics, board, validation
            )
            stack.callback(leader.close)
        stepper = Stepper(gpt, optimizer, prepared.train, run.settings, group, device)
        loop = Loop(stepper, prepared.train, run.settings, group, _calls(leader, stop, lock), position)
        if leader is not None:
            leader.begins(position, loop.steps())
        loop.run()
        group.lead(leader.export if leader else lambda: None)


def _rewound(run: Run, position: Position) -> tuple[Metrics, Board]:
    """Where measurements go, without those of steps after ``position``, which will be taken again."""
    rewind(run.directory, position.step)
    metrics = Metrics(run.directory)
    metrics.rewind(position.step)
    return metrics, Board(run.directory, position.step)


def _calls(leader: Leader | None, stop: StopFlag, lock: RunLock) -> Calls:
    if leader is None:
        return Calls(
            stopping=lambda: stop.is_set,
            save=lambda position: None,
            validate=lambda position: False,
            moved=lambda position, steps: None,
            logged=lambda measured: None,
        )

    def is_stopping() -> bool:
        lock.check()
        return stop.is_set

    return Calls(is_stopping, leader.save, leader.validate, leader.moved, leader.logged)
