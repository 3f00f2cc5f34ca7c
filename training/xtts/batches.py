"""Which clips make a batch, and the batch itself: pure functions of the seed, the epoch and the clips.

Nothing is drawn from a generator that goes on, so a run that is resumed sees what one that never stopped sees.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn.utils.rnn import pad_sequence

if TYPE_CHECKING:
    from training.xtts.features import Features

PromptMask = Literal["upstream", "full", "off"]

SHORTEST_PROMPT, LONGEST_PROMPT = 66150, 132300
"""Samples at 22050 Hz: 3 and 6 s, as in coqui's ``GPTArgs``."""

HOP = 256
"""Samples of a frame of the style mel."""

PROMPT_FRAMES = LONGEST_PROMPT // HOP + 1
"""Of the style mel that the model sees, silence included."""

STRIDE = 1024
"""Samples of an audio code."""

STOPS = 4
"""Stop tokens that the decoder learns after the codes of a clip, as in coqui's ``GPT.forward``."""

MASK_DIVISORS = {"upstream": 256, "full": 1024}
"""Samples of a target of the prompt's stretch: coqui takes frames of the mel for audio codes."""

JITTER = 0.05
"""Share by which lengths are varied before clips are put in order, so that epochs make other batches."""


@dataclass(frozen=True, slots=True)
class Length:
    """What a clip takes: ``text`` tokens, ``codes``, and its ``samples`` at 22050 Hz. ``id`` is the clip's."""

    id: str
    text: int
    codes: int
    samples: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips of one forward pass, b of them, on the device; rows are filled up with zeros.

    ``text`` int64 [b, t], ``codes`` int64 [b, c] and their lengths int64 [b]; ``prompt`` float32 [b, 80, p], the mel
    of 3 to 6 s of each clip, filled up with silence as coqui does. That is ``PROMPT_FRAMES`` long; where the longest
    is shorter, the last frame stands for those that are left out. ``prompt_samples`` int64 [b, 2], from where to where
    of the clip that is.
    """

    text: torch.Tensor
    text_lengths: torch.Tensor
    codes: torch.Tensor
    code_lengths: torch.Tensor
    prompt: torch.Tensor
    prompt_samples: torch.Tensor

    def __len__(self) -> int:
        return len(self.text)


def plan(lengths: Sequence[Length], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of ``epoch`` as indices into ``lengths``: every clip once, those of like length together.

    One batch is shorter where ``batch_size`` does not divide the clips; which one is drawn.
    """
    chance = random.Random(f"plan {seed} {epoch}")  # noqa: S311 - has to be the same again
    keys = [(length.text + length.codes) * chance.uniform(1 - JITTER, 1 + JITTER) for length in lengths]
    order = sorted(range(len(lengths)), key=keys.__getitem__)
    short = chance.randrange(len(lengths) // batch_size + 1)
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        size = len(order) % batch_size if len(batches) == short else batch_size
        batches.append(order[start : start + size])
        start += size
    batches = [batch for batch in batches if batch]
    for batch in batches:
        chance.shuffle(batch)
    chance.shuffle(batches)
    return batches


def chunks(batch: Sequence[int], lengths: Sequence[Length], micro_batch_size: int, world: int) -> list[list[int]]:
    """``batch`` in micro-batches of at most ``micro_batch_size``, a multiple of ``world`` of them; some may be empty.

    The chunks of a rank are ``[rank::world]``. Rows keep their order in ``batch``. Where the number of chunks for one
    rank is a multiple of ``world``, they are the same: with dropout seeded by a chunk's first clip, ranks compute
    together what one alone would.
    """
    count = -(-len(batch) // micro_batch_size)
    count = -(-count // world) * world
    order = sorted(range(len(batch)), key=lambda row: (lengths[batch[row]].text + lengths[batch[row]].codes, row))
    cuts = [len(batch) * number // count for number in range(count + 1)]
    return [[batch[row] for row in sorted(order[start:end])] for start, end in itertools.pairwise(cuts)]


def prompt_samples(length: Length, seed: int, epoch: int | None) -> tuple[int, int]:
    """From which sample to which the prompt of a clip is cut, as coqui's ``get_prompt_slice`` cuts it.

    3 to 6 s anywhere in the clip, or half of a clip that is shorter than what was drawn. Without ``epoch``, for
    validation, it is 4.5 s from the start.
    """
    chance = random.Random(f"prompt {seed} {epoch} {length.id}")  # noqa: S311 - has to be the same again
    size = (SHORTEST_PROMPT + LONGEST_PROMPT) // 2 if epoch is None else chance.randint(SHORTEST_PROMPT, LONGEST_PROMPT)
    if size > length.samples:
        size = length.samples // 2
    start = 0 if epoch is None else chance.randint(0, length.samples - size)
    return start, start + size


def prompt_frames(cuts: Sequence[tuple[int, int]]) -> int:
    """How many frames a batch keeps of its prompts, which are ``cuts`` in samples: all, and one of silence behind."""
    return min(max((end - start) // HOP + 1 for start, end in cuts) + 1, PROMPT_FRAMES)


def token_counts(
    batch: Sequence[Sequence[int]], lengths: Sequence[Length], prompt_mask: PromptMask, *, seed: int, epoch: int | None
) -> tuple[int, int]:
    """Text and audio targets that ``losses`` sums up over all ``chunks`` of a batch, by their lengths alone."""
    text = sum(lengths[index].text + 1 for chunk in batch for index in chunk)
    mel = sum(lengths[index].codes + STOPS for chunk in batch for index in chunk)
    if prompt_mask == "off":
        return text, mel
    masked = [index for chunk in batch for index in (chunk if prompt_mask == "full" else chunk[-1:])]
    divisor = MASK_DIVISORS[prompt_mask]
    for index in masked:
        start, end = (sample // divisor for sample in prompt_samples(lengths[index], seed, epoch))
        targets = lengths[index].codes + STOPS
        mel -= min(end, targets) - min(start, targets)
    return text, mel


def collate(features: Features, indices: Sequence[int], *, seed: int, epoch: int | None, device: torch.device) -> Batch:
    """The batch of the clips ``indices``; without ``epoch`` for validation, see ``prompt_samples``."""
    examples = [features[index] for index in indices]
    cuts = [prompt_samples(features.lengths[index], seed, epoch) for index in indices]
    text = pad_sequence([example.text_tokens for example in examples], batch_first=True)
    codes = pad_sequence([example.codes for example in examples], batch_first=True)
    prompt = features.silence[:, None].repeat(len(examples), 1, prompt_frames(cuts))
    for row, example, (start, end) in zip(prompt, examples, cuts, strict=True):
        cut = example.mel[:, start // HOP : start // HOP + (end - start) // HOP + 1]
        row[:, : cut.shape[1]] = cut
    return Batch(
        text=text.to(device, torch.int64),
        text_lengths=_counts([len(example.text_tokens) for example in examples], device),
        codes=codes.to(device, torch.int64),
        code_lengths=_counts([len(example.codes) for example in examples], device),
        prompt=prompt.to(device),
        prompt_samples=_counts(cuts, device),
    )


def _counts(values: Sequence[object], device: torch.device) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64).to(device)
