"""A tiny model and a few clips, for the parts of the trainer that are tested alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from tests.factories.cache import cached
from tests.factories.dataset import cached_dataset
from tests.factories.dvae import cached_dvae
from tests.factories.xtts import cached_checkpoint
from training.dataset.metadata import read_metadata
from training.xtts import batches, clip, dvae, features
from training.xtts.base import Base, load_base
from training.xtts.batches import PROMPT_FRAMES, Batch, Length
from training.xtts.features import Features, load_features

CPU = torch.device("cpu")
SOURCES = [Path(str(module.__file__)) for module in (batches, clip, dvae, features)]


def a_base() -> Base:
    """With weights of its own: tests may train it."""
    return load_base(cached_checkpoint(), CPU)


def some_features() -> Features:
    """Of 16 clips of 1 to 8 s, computed once for all tests."""
    clips = read_metadata(cached_dataset(16, longest_s=8.0))
    folder = cached("features", SOURCES, lambda folder: load_features(clips, a_base(), cached_dvae(), folder))
    (path,) = folder.iterdir()
    return Features(path)


def lengths(codes: Sequence[int], text: Sequence[int] | None = None) -> list[Length]:
    """Clips of so many codes."""
    texts = text or [max(1, count // 2) for count in codes]
    return [
        Length(f"clip{number}", tokens, count, count * 1024 - 500)
        for number, (count, tokens) in enumerate(zip(codes, texts, strict=True))
    ]


def whole_prompt(batch: Batch) -> torch.Tensor:
    """``batch.prompt`` with all its silence, as coqui's encoder takes it."""
    last = batch.prompt[:, :, -1:]
    return torch.cat([batch.prompt, last.repeat(1, 1, PROMPT_FRAMES - batch.prompt.shape[2])], dim=2)


def a_batch(text: torch.Tensor, codes: torch.Tensor, prompt: torch.Tensor) -> Batch:
    """Rows that are as long as one another; the prompt was cut from the start, and its last frame goes on to 6 s."""
    rows = len(text)
    return Batch(
        text=text,
        text_lengths=torch.full((rows,), text.shape[1]),
        codes=codes,
        code_lengths=torch.full((rows,), codes.shape[1]),
        prompt=prompt,
        prompt_samples=torch.tensor([[0, 1024]]).repeat(rows, 1),
    )
