"""Where a run goes on, and what may be another than when it was interrupted."""

from __future__ import annotations

import logging

import torch

from serving.errors import InvalidRequest
from serving.store.training_files import TrainingSettings
from training.xtts.checkpoints import Checkpoint, Checkpoints, Facts
from training.xtts.distributed import Group
from training.xtts.position import Position
from training.xtts.weights import put_optimizer_state, put_weights

FIXED = ("method", "lora_rank")
"""Settings that decide which weights a checkpoint has."""

log = logging.getLogger(__name__)


def resume(
    checkpoints: Checkpoints,
    group: Group,
    gpt: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: TrainingSettings,
    plan: str,
) -> Position:
    """Put the newest sound checkpoint into ``gpt`` and ``optimizer``; where it was, or the start without one.

    ``plan`` is the digest of what the batches of an epoch are made of. Raises InvalidRequest that names a setting that
    cannot be changed, and ModelFilesError.
    """
    newest = checkpoints.newest() if group.leads else None
    step = group.share(newest.facts.position.step if newest else None)
    if step is None:
        return Position()
    checkpoint = newest or checkpoints.read(step)
    position = where(checkpoint.facts, settings, plan, loud=group.leads)
    _put(checkpoint, gpt, optimizer, settings)
    return position


def where(facts: Facts, settings: TrainingSettings, plan: str, *, loud: bool = True) -> Position:
    """Where a run with ``settings`` goes on after the checkpoint that says ``facts``; ``loud`` writes to the log.

    Batches that are made of other clips or lengths, by another size or seed, are not those that were trained on, so a
    begun epoch starts again: no clip is left out. Raises InvalidRequest.
    """
    for name in FIXED:
        before, now = getattr(facts.settings, name), getattr(settings, name)
        if before != now and (name == "method" or settings.method == "lora"):
            raise InvalidRequest(
                f"this run was begun with {name} {before}, which cannot become {now}; set it back, or start a new run",
                param=name,
            )
    position = facts.position
    if facts.plan != plan and position.batches:
        if loud:
            log.warning(
                "max_train_samples, batch_size, seed or how texts are read has changed: epoch %d starts again with "
                "other batches",
                position.epoch + 1,
            )
        return position.model_copy(update={"batches": 0})
    return position


def _put(
    checkpoint: Checkpoint, gpt: torch.nn.Module, optimizer: torch.optim.Optimizer, settings: TrainingSettings
) -> None:
    put_weights(gpt, settings, checkpoint.weights)
    put_optimizer_state(optimizer, checkpoint.optimizer)
