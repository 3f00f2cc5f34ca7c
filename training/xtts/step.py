"""One step of the optimizer over a batch of clips, on as many ranks as there are."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from serving.store.training_files import TrainingSettings
from training.xtts.batches import chunks, collate, token_counts
from training.xtts.distributed import Group
from training.xtts.features import Features
from training.xtts.loss import loss_function, total
from training.xtts.position import LossSums


@dataclass(frozen=True)
class StepResult:
    """Of all ranks together. Without ``finite`` the weights were left as they are."""

    sums: LossSums
    grad_norm: float
    finite: bool


class Stepper:
    """Steps of ``optimizer`` over ``features``. Only weights and AdamW's state last from step to step.

    Dropout is seeded by the step and the first clip of a micro-batch, so neither a resumed run nor another number of
    ranks draws anything else where they cut the batch alike.
    """

    def __init__(
        self,
        gpt: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        features: Features,
        settings: TrainingSettings,
        group: Group,
        device: torch.device,
    ) -> None:
        self._gpt, self._optimizer, self._features = gpt, optimizer, features
        self._settings, self._group, self._device = settings, group, device
        self._parameters = [parameter for parameter in gpt.parameters() if parameter.requires_grad]
        self._losses = loss_function(settings)
        dtype = precision(settings, device)
        self._autocast = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)

    def step(self, batch: Sequence[int], *, number: int, epoch: int, rate: float) -> StepResult:
        """Step ``number`` of the run, with the clips ``batch`` of ``features`` at the learning rate ``rate``."""
        sums = self._accumulate(batch, number, epoch)
        self._group.add_gradients(self._parameters)
        self._group.add(sums)
        clip = self._settings.gradient_clip
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, math.inf if clip is None else clip)
        *parts, grad_norm = torch.cat([sums, norm.to(sums)[None]]).tolist()  # the only wait for the device
        finite = all(math.isfinite(value) for value in (*parts, grad_norm))
        if finite:
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        names = ("text_sum", "text_tokens", "mel_sum", "mel_tokens")
        return StepResult(LossSums(**dict(zip(names, parts, strict=True))), grad_norm, finite)

    def _accumulate(self, batch: Sequence[int], number: int, epoch: int) -> torch.Tensor:
        """This rank's gradients of the batch's loss, and its sums of losses and tokens, float64 [4]."""
        settings, lengths = self._settings, self._features.lengths
        parts = chunks(batch, lengths, settings.micro_batch_size, self._group.world)
        counts = token_counts(parts, lengths, settings.prompt_mask, seed=settings.seed, epoch=epoch)
        text_tokens, mel_tokens = (max(1, count) for count in counts)
        sums = torch.zeros(4, dtype=torch.float64, device=self._device)
        for index in range(self._group.rank, len(parts), self._group.world):
            if not parts[index]:
                continue
            torch.manual_seed(_seed(settings.seed, number, parts[index][0]))
            data = collate(self._features, parts[index], seed=settings.seed, epoch=epoch, device=self._device)
            with self._autocast:
                part = self._losses(self._gpt, data, settings.prompt_mask)
                loss = total(part, text_tokens, mel_tokens)
            loss.backward()
            values = (part.text_sum, part.text_tokens, part.mel_sum, part.mel_tokens)
            sums += torch.stack([value.detach().double() for value in values])
        return sums


def precision(settings: TrainingSettings, device: torch.device) -> torch.dtype:
    """Of the forward pass, as ``settings`` and ``device`` have it; weights and AdamW's state stay float32."""
    wanted = settings.precision == "bfloat16"
    if settings.precision == "auto" and device.type == "cuda":
        wanted = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if wanted else torch.float32


def _seed(*numbers: int) -> int:
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:8], "little") >> 1
