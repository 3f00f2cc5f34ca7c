"""Rank 0: what it writes while a run goes on, and the export at its end."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.metadata import version

import torch

from serving.errors import ModelFilesError, StorageError
from serving.store.dataset_files import DatasetSpec
from training.xtts import lora
from training.xtts.board import Board
from training.xtts.checkpoints import Checkpoint, Checkpoints, Facts
from training.xtts.export import export, export_facts
from training.xtts.lock import RunLock
from training.xtts.metrics import Measured, Metrics
from training.xtts.position import Position
from training.xtts.prepare import Prepared
from training.xtts.progress import Display
from training.xtts.run import Run
from training.xtts.status import Status
from training.xtts.validation import History, Validation
from training.xtts.weights import optimizer_state, put_weights, weights

PACKAGES = ("kubevoice", "torch", "coqui-tts", "transformers", "peft")
LONGEST_STEM = 50
"""Characters of the run's name in the name of its export."""

log = logging.getLogger(__name__)


@dataclass
class Leader:
    """Its methods raise StorageError when the volume refuses."""

    run: Run
    dataset: DatasetSpec
    prepared: Prepared
    optimizer: torch.optim.Optimizer
    plan: str
    lock: RunLock
    status: Status
    display: Display
    checkpoints: Checkpoints
    metrics: Metrics
    board: Board
    validation: Validation

    def begins(self, position: Position, steps: int) -> None:
        """Say what is going to be trained, from ``position`` to ``steps`` in all."""
        run, prepared, settings = self.run, self.prepared, self.run.settings
        self.status.tell(epoch=position.epoch, step=position.step, steps=steps)
        self.display.begins(
            {
                "model": f"{run.spec.model}@{prepared.base.directory.name}",
                "method": settings.method,
                "device": str(prepared.base.device),
                "train_clips": len(prepared.train),
                "val_clips": len(prepared.val),
                "epochs": settings.epochs,
                "step": position.step,
                "steps": steps,
            }
        )
        if steps < settings.warmup_steps:
            log.warning(
                "the run has %d steps in all and the learning rate would be at its highest after %d: it hardly learns; "
                "raise epochs, or lower warmup_steps or batch_size",
                steps,
                settings.warmup_steps,
            )

    def save(self, position: Position) -> None:
        """Write a checkpoint and delete those that are not kept; raises LockLost when the run is another process's."""
        facts = Facts(
            position=position,
            settings=self.run.settings,
            data=self.prepared.data,
            plan=self.plan,
            versions={name: version(name) for name in PACKAGES},
        )
        state = weights(self.prepared.base.gpt, self.run.settings)
        path = self.checkpoints.save(facts, state, optimizer_state(self.optimizer), self.lock.confirm)
        self._prune(self.validation.history())
        log.info("saved %s", path)

    def validate(self, position: Position) -> bool:
        """Validate, unless it is done; True if the loss has not fallen for ``early_stop_epochs``."""
        known = self.validation.history().has(position.step)
        if not known:
            self.status.tell(state="evaluating", epoch=position.epoch, step=position.step)
        history = self.validation.validate(position)
        self._prune(history)
        losses = {row["step"]: row["val_loss"] for row in history.rows}
        best = history.best["val_loss"] if history.best else None
        if not known:
            self.display.validated(position.epoch, position.step, losses[position.step], best)
        self.status.tell(state="training", epoch=position.epoch, val_loss=losses[position.step], best_val_loss=best)
        return history.is_enough(position.epoch, self.run.settings.early_stop_epochs)

    def moved(self, position: Position, steps: int) -> None:
        """Every step; where steps are slow, each is told and not only those that are logged."""
        self.display.moved(position.epoch, position.step, steps)
        self.status.tell_sometimes(state="training", epoch=position.epoch, step=position.step, steps=steps)

    def logged(self, measured: Measured) -> None:
        self.metrics.add(measured)
        self.board.step(measured)
        self.display.logged(measured)
        self.status.tell(
            state="training",
            epoch=measured.epoch,
            epochs=self.run.settings.epochs,
            step=measured.step,
            steps=measured.steps,
            skipped_steps=measured.skipped_steps,
            train_loss=measured.train_loss,
            learning_rate=measured.learning_rate,
            clips_per_s=measured.clips_per_second,
            eta_s=measured.eta_s,
        )

    def export(self) -> None:
        """Export the weights of the epoch with the lowest validation loss; what is there already is checked only."""
        self.lock.confirm()
        self.status.tell(state="exporting", eta_s=None)
        base, history = self.prepared.base, self.validation.history()
        checkpoint = self._best(history)
        position = checkpoint.facts.position
        losses = {row["step"]: row["val_loss"] for row in history.rows}
        put_weights(base.gpt, self.run.settings, checkpoint.weights)
        facts = export_facts(
            base,
            self.run.spec,
            self.dataset,
            step=position.step,
            epoch=position.epoch,
            val_loss=losses.get(position.step),
        )
        revision = f"{self.run.spec.name[:LONGEST_STEM]}-{position.step}"
        path = export(base, lora.merged_state(base.gpt), self.run.directory, revision, self.prepared.clips, facts)
        self.status.tell(state="succeeded", export=revision)
        log.info("exported %s", path)

    def close(self) -> None:
        """Let what came before be heard, rather than that its last event could not be written."""
        try:
            self.board.close()
        except StorageError as error:
            log.warning("%s", error)

    def _best(self, history: History) -> Checkpoint:
        best = history.best["step"] if history.best else None
        if best is not None:
            try:
                return self.checkpoints.read(best, optimizer=False)
            except ModelFilesError as error:
                log.warning("the best checkpoint, of step %d, cannot be read (%s); the newest is exported", best, error)
        newest = self.checkpoints.newest()
        if newest is None:
            raise ModelFilesError(f"{self.checkpoints.directory} has no checkpoint to export; start a new run")
        return newest

    def _prune(self, history: History) -> None:
        best = history.best["step"] if history.best else None
        self.checkpoints.prune(self.run.settings.keep_checkpoints, best)
