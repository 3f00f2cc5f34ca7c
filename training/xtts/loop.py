"""The loop: epochs of steps, checkpoints, validation, and when to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.errors import InvalidRequest
from serving.store.training_files import TrainingSettings
from training.xtts.batches import plan
from training.xtts.distributed import Group
from training.xtts.features import Features
from training.xtts.loss import MEL_WEIGHT, TEXT_WEIGHT
from training.xtts.metrics import Measured
from training.xtts.optimizer import learning_rate
from training.xtts.position import LossSums, Position
from training.xtts.signals import Stopped
from training.xtts.step import Stepper

MOST_SKIPPED = 5
"""Steps in a row without a finite loss and gradient until the run ends: a single bad batch is no reason."""


@dataclass(frozen=True)
class Calls:
    """What the loop asks of its surroundings. Rank 0 alone is asked, but for ``stopping``, which each is.

    ``save`` makes ``Position`` and the weights durable; ``validate`` says whether the run has reached its end early.
    """

    stopping: Callable[[], bool]
    save: Callable[[Position], None]
    validate: Callable[[Position], bool]
    moved: Callable[[Position, int], None]
    logged: Callable[[Measured], None]


class Loop:
    """Trains from ``position`` on; the same calls on every rank."""

    def __init__(
        self,
        stepper: Stepper,
        features: Features,
        settings: TrainingSettings,
        group: Group,
        calls: Calls,
        position: Position,
    ) -> None:
        self._stepper, self._features, self._settings = stepper, features, settings
        self._group, self._calls = group, calls
        self.position = position
        self._saved = position
        self._saved_at = time.monotonic()
        self._measured_at, self._clips = time.monotonic(), 0
        self._between_s = 0.0

    def run(self) -> None:
        """Train until the last epoch is validated, or validation says that it is enough.

        Raises Stopped at a step boundary once a rank was told to stop, with everything saved; InvalidRequest when the
        loss is no number for too long.
        """
        saving_s = 0.0
        while not self._validated(saving_s) and self.position.epoch < self._settings.epochs:
            self._epoch()
            began = time.monotonic()
            self._save()
            saving_s = time.monotonic() - began

    def steps(self) -> int:
        """How many the whole run has, as things are now."""
        each = -(-len(self._features) // self._settings.batch_size)
        done = self.position
        return done.step - done.batches + max(0, self._settings.epochs - done.epoch) * each

    def _validated(self, saving_s: float) -> bool:
        """At the end of an epoch, and before the first: whether to end. Ranks other than 0 wait for the word of it."""
        if self.position.batches:
            return False
        began = time.monotonic()
        end = self._group.lead(lambda: self._calls.validate(self.position))
        self._measured_at, self._clips = time.monotonic(), 0
        self._between_s = saving_s + self._measured_at - began
        return end

    def _epoch(self) -> None:
        settings, epoch = self._settings, self.position.epoch
        batches = plan(self._features.lengths, settings.batch_size, settings.seed, epoch)
        for number in range(self.position.batches, len(batches)):
            self._boundary()
            self._step(batches[number], last=number + 1 == len(batches))
        self.position = self.position.model_copy(update={"epoch": epoch + 1, "batches": 0})

    def _boundary(self) -> None:
        if self._group.any(self._calls.stopping()):
            self._save()
            self._group.share(None)  # a rank that left earlier would have the launcher end rank 0
            raise Stopped
        if time.monotonic() - self._saved_at > 60 * self._settings.save_every_minutes:
            self._save()

    def _save(self) -> None:
        if self._group.leads and self.position != self._saved:
            self._calls.save(self.position)
        self._saved, self._saved_at = self.position, time.monotonic()

    def _step(self, batch: list[int], *, last: bool) -> None:
        before, steps = self.position, self.steps()
        rate = learning_rate(self._settings, before.step, steps)
        result = self._stepper.step(batch, number=before.step, epoch=before.epoch, rate=rate)
        self._clips += len(batch)
        self.position = before.model_copy(
            update={
                "batches": before.batches + 1,
                "step": before.step + 1,
                "window": before.window + result.sums if result.finite else before.window,
                "skipped": before.skipped + (not result.finite),
                "skipped_in_a_row": 0 if result.finite else before.skipped_in_a_row + 1,
            }
        )
        if self.position.skipped_in_a_row >= MOST_SKIPPED:
            raise InvalidRequest(
                f"the loss or gradient of {MOST_SKIPPED} steps in a row, until step {self.position.step}, is not "
                "finite; start a new run with a lower learning_rate or precision float32",
                param="learning_rate",
            )
        if self._group.leads:
            self._calls.moved(self.position, steps)
        if last or self.position.step % self._settings.log_every_n_steps == 0:
            self._log(steps, rate, result.grad_norm if result.finite else None)

    def _log(self, steps: int, rate: float, grad_norm: float | None) -> None:
        window, now = self.position.window, time.monotonic()
        self.position = self.position.model_copy(update={"window": LossSums()})
        speed = self._clips / max(now - self._measured_at, 1e-9)
        self._measured_at, self._clips = now, 0
        if not self._group.leads or not window.mel_tokens:
            return
        text_loss = window.text_sum / max(window.text_tokens, 1)
        mel_loss = window.mel_sum / window.mel_tokens
        left = (steps - self.position.step) * self._settings.batch_size
        epochs = self._settings.epochs - self.position.epoch  # the one that is trained now has not been validated yet
        measured = Measured(
            step=self.position.step,
            steps=steps,
            epoch=self.position.epoch,
            train_loss=TEXT_WEIGHT * text_loss + MEL_WEIGHT * mel_loss,
            text_loss=text_loss,
            mel_loss=mel_loss,
            learning_rate=rate,
            grad_norm=grad_norm,
            clips_per_second=speed,
            eta_s=left / speed + epochs * self._between_s,
            skipped_steps=self.position.skipped,
        )
        self._calls.logged(measured)
