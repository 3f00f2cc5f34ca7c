"""Our trainer's core as its loop drives it: features, plan, batches, loss and optimizer, in float32 on one device."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training_files import Files
from serving.store.training_files import TrainingSettings
from training.dataset.metadata import read_metadata
from training.xtts.base import Base, configure, load_base
from training.xtts.batches import (
    PROMPT_FRAMES,
    Batch,
    Length,
    collate,
    plan,
    prompt_frames,
    prompt_samples,
    token_counts,
)
from training.xtts.features import Features, load_features
from training.xtts.loss import losses, total
from training.xtts.optimizer import make_optimizer

SETTINGS = TrainingSettings(gradient_clip=None, prompt_mask="upstream")
"""coqui's recipe clips nothing either."""


class OurTrainer:
    def __init__(self, files: Files, cache: Path, device: torch.device) -> None:
        self._files, self._cache, self._device = files, cache, device
        self.base: Base = load_base(files.model, device)
        configure(self.base.gpt, SETTINGS)
        self.optimizer = make_optimizer(self.base.gpt, SETTINGS)

    def features(self) -> Features:
        """Computed the first time."""
        return load_features(read_metadata(self._files.dataset), self.base, self._files.dvae, self._cache)

    def batch(self, features: Features, clips: Sequence[int], epoch: int) -> tuple[Batch, tuple[int, int]]:
        """With how many targets it has."""
        mask, seed = SETTINGS.prompt_mask, SETTINGS.seed
        counts = token_counts([clips], features.lengths, mask, seed=seed, epoch=epoch)
        return collate(features, clips, seed=seed, epoch=epoch, device=self._device), counts

    def loss(self, batch: Batch, counts: tuple[int, int]) -> torch.Tensor:
        return total(losses(self.base.gpt, batch, SETTINGS.prompt_mask), *counts)

    def step(self, batch: Batch, counts: tuple[int, int]) -> None:
        self.loss(batch, counts).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def bucketed(lengths: Sequence[Length], size: int, epoch: int) -> list[list[int]]:
    return plan(lengths, size, SETTINGS.seed, epoch)


def shuffled(lengths: Sequence[Length], size: int, epoch: int) -> list[list[int]]:
    """Every clip once, in batches that know nothing of lengths."""
    order = list(range(len(lengths)))
    random.Random(epoch).shuffle(order)
    return [order[start : start + size] for start in range(0, len(order), size)]


def padding(batches: Sequence[Sequence[Length]]) -> float:
    """Tokens that batches have by tokens that their clips have."""
    tokens = sum(len(batch) * sum(_widths(batch)) for batch in batches)
    return tokens / sum(length.text + length.codes for batch in batches for length in batch)


def drawn_frames(batch: Sequence[Length], epoch: int) -> int:
    """Frames that a batch of ours has of its prompts."""
    return prompt_frames([prompt_samples(length, SETTINGS.seed, epoch) for length in batch])


def without_silence(prompt: torch.Tensor) -> torch.Tensor:
    """``prompt`` [b, 80, n] as our batches have it: one frame for all at its end that are alike in all rows."""
    other = (prompt != prompt[:, :, -1:]).any(dim=1).any(dim=0).nonzero()
    return prompt[:, :, : int(other.max()) + 2]


def full_size_flops(batches: Sequence[Sequence[Length]], frames: Sequence[int] | None = None) -> float:
    """Floating point operations of forward and backward passes of the released model, counted and not computed.

    ``frames`` are those of each batch's prompts; without them all of ``PROMPT_FRAMES``, as coqui's batches have them.
    """
    from TTS.tts.layers.xtts.gpt import GPT

    with torch.device("meta"):
        gpt = GPT(
            layers=30,
            model_dim=1024,
            heads=16,
            max_text_tokens=402,
            max_mel_tokens=605,
            number_text_tokens=6681,
            start_text_token=261,
            num_audio_tokens=1026,
            start_audio_token=1024,
            stop_audio_token=1025,
            use_perceiver_resampler=True,
        )
        count = 0.0
        for number, batch in enumerate(batches):
            counter = FlopCounterMode(display=False)
            with counter:
                empty = _empty(batch, frames[number] if frames else PROMPT_FRAMES)
                total(losses(gpt, empty, "off"), 1, 1).backward()
            count += counter.get_total_flops()
    return count


def _empty(lengths: Sequence[Length], frames: int) -> Batch:
    """A batch of the shape that clips of ``lengths`` make with prompts of ``frames``, without values."""
    rows, (text, codes) = len(lengths), _widths(lengths)
    length = torch.empty(rows, dtype=torch.int64)
    return Batch(
        text=torch.empty(rows, text, dtype=torch.int64),
        text_lengths=length,
        codes=torch.empty(rows, codes, dtype=torch.int64),
        code_lengths=length,
        prompt=torch.empty(rows, 80, frames),
        prompt_samples=torch.empty(rows, 2, dtype=torch.int64),
    )


def _widths(lengths: Sequence[Length]) -> tuple[int, int]:
    return max(length.text for length in lengths), max(length.codes for length in lengths)
