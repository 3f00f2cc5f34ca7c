"""Everything the decoder remembers between two steps, in rows that are allocated once.

Row 0 up to the number of active sequences are in use; the rest are free. A sequence that ends leaves a gap, which the
last active row fills, so that a step always works on the first rows: no indices, no gathering, no holes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from serving.engines.base import Sampling
from serving.engines.memory import untouched_zeros
from serving.engines.xtts.sampling import SamplingRows

MIN_TEMPERATURE = 1e-6
"""Divided by less, logits outgrow float32; the most probable token is all that is left long before."""


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """The sizes of XTTS's decoder; ``max_prompt`` and ``max_audio`` count positions."""

    layers: int
    channels: int
    heads: int
    vocabulary: int
    start_audio: int
    stop_audio: int
    max_prompt: int
    max_audio: int

    @property
    def head_size(self) -> int:
        return self.channels // self.heads

    @property
    def positions(self) -> int:
        """Keys of the longest sequence, and of one step more: the host learns of an end one step late."""
        return self.max_prompt + self.max_audio + 1

    def slot_bytes(self, dtype: torch.dtype) -> int:
        """Keys, values and latents of one slot: 132 MB in bfloat16 for the released model."""
        cached: int = 2 * self.layers * self.positions * self.channels * dtype.itemsize
        return cached + (self.max_audio + 1) * self.channels * 4


@dataclass(frozen=True, slots=True)
class SavedRow:
    """A sequence out of its row: what it had in each tensor of the cache, of keys and values what was in use."""

    tensors: tuple[torch.Tensor, ...]

    @property
    def latents(self) -> torch.Tensor:
        """float32 [audio, channels]."""
        return self.tensors[2]


class SlotCache:
    """Keys, values and state of up to ``slots`` sequences.

    ``keys`` and ``values`` [layers, slots, positions, heads, head size]; ``latents`` float32 [slots, audio, channels];
    ``length`` counts a row's cached positions, ``step`` its audio tokens so far, ``token`` is the last of them.
    """

    def __init__(self, shape: DecoderShape, slots: int, device: torch.device, dtype: torch.dtype) -> None:
        self.shape = shape
        self.slots = slots

        def rows(dtype: torch.dtype, *sizes: int) -> torch.Tensor:
            return torch.zeros(slots, *sizes, dtype=dtype, device=device)

        sizes = (shape.layers, slots, shape.positions, shape.heads, shape.head_size)
        self._make = functools.partial(_zeros, sizes, dtype, device)
        self.keys, self.values = self._make(), self._make()
        self.latents = torch.empty(slots, shape.max_audio + 1, shape.channels, device=device)
        self.length = rows(torch.int64)
        self.step = rows(torch.int64)
        self.token = rows(torch.int64)
        self.seen = rows(torch.bool, shape.vocabulary)
        self.sampling = SamplingRows(
            temperature=rows(torch.float32) + 1,
            top_k=rows(torch.int64) + 1,
            top_p=rows(torch.float32) + 1,
            repetition_penalty=rows(torch.float32) + 1,
            greedy=rows(torch.bool),
            seed=rows(torch.int64),
        )
        self.row_index = torch.arange(slots, device=device)

    def begin(self, row: int, sampling: Sampling, seed: int) -> None:
        """Make ``row`` ready for a new sequence; every field of ``sampling`` is set.

        Token 1 counts as seen from the start, because coqui fills the prompt's places with it before it penalises.
        Everything is filled in: to assign a number to one element, a GPU would wait for the host.
        """
        assert sampling.temperature is not None
        assert sampling.top_k is not None
        values = {
            "temperature": max(sampling.temperature, MIN_TEMPERATURE),
            "top_k": min(sampling.top_k or self.shape.vocabulary, self.shape.vocabulary),  # 0 is no limit, as in coqui
            "top_p": sampling.top_p,
            "repetition_penalty": sampling.repetition_penalty,
            "greedy": sampling.top_k == 1,
            "seed": seed % 2**62,
        }
        for name, value in values.items():
            getattr(self.sampling, name)[row].fill_(value)
        self.length[row].fill_(0)
        self.step[row].fill_(0)
        self.seen[row].fill_(False)
        for token in (1, self.shape.start_audio):
            self.seen[row, token].fill_(True)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a sequence of ``length`` cached positions from row to row."""
        for rows in self._rows(length):
            rows[target] = rows[source]

    def save(self, row: int, length: int) -> SavedRow:
        """A copy of a sequence of ``length`` cached positions, for ``restore``."""
        return SavedRow(tuple(rows[row].clone() for rows in self._rows(length)))

    def restore(self, row: int, saved: SavedRow, length: int) -> None:
        """Put what ``save`` returned into any row."""
        for rows, tensor in zip(self._rows(length), saved.tensors, strict=True):
            rows[row] = tensor

    def clear(self, rows: slice) -> None:
        """Forget keys and values that are not finite: masked or not, they would spoil what comes into their rows."""
        self.keys[:, rows] = 0
        self.values[:, rows] = 0

    def reset(self) -> None:
        """``clear`` all rows, on a CPU without touching their memory; on a GPU in place, where graphs refer to it."""
        if self.keys.device.type == "cpu":
            self.keys, self.values = self._make(), self._make()
        else:
            self.clear(slice(None))

    def counters(self) -> tuple[torch.Tensor, ...]:
        """A copy of all that a step changes and the next step does not overwrite, for ``revert``."""
        return tuple(tensor.clone() for tensor in (self.length, self.step, self.token, self.seen))

    def revert(self, counters: tuple[torch.Tensor, ...]) -> None:
        """Undo steps since ``counters``."""
        for tensor, before in zip((self.length, self.step, self.token, self.seen), counters, strict=True):
            tensor.copy_(before)

    def _rows(self, length: int) -> Iterator[torch.Tensor]:
        """Views of everything that belongs to a sequence, its row first."""
        yield self.keys[:, :, :length].transpose(0, 1)
        yield self.values[:, :, :length].transpose(0, 1)
        yield from (self.latents, self.length, self.step, self.token, self.seen)
        yield from (getattr(self.sampling, name) for name in SamplingRows.__slots__)


def _zeros(sizes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros; on a CPU their memory is not touched before it is used, and most of it never is."""
    if device.type == "cpu" and dtype == torch.float32:
        return untouched_zeros(*sizes)
    return torch.zeros(sizes, dtype=dtype, device=device)
