"""The next audio token of every sequence of a batch, chosen on the device.

The order and the arithmetic are those of transformers' logits processors, which coqui's ``Xtts.inference`` uses:
repetition penalty, temperature, top-k, top-p, in float32. The random number of a token comes from (seed, step, token)
alone, so a sequence's tokens do not depend on its neighbours, on the batch's size or on the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9


@dataclass(frozen=True, slots=True)
class SamplingRows:
    """Options of the rows of a batch, all [rows]: float32, but ``top_k`` int64 in 1..vocabulary and ``greedy`` bool.

    ``seed`` is int64, of which the low 62 bits count; ``greedy`` takes the most probable token whatever the others say.
    """

    temperature: torch.Tensor
    top_k: torch.Tensor
    top_p: torch.Tensor
    repetition_penalty: torch.Tensor
    greedy: torch.Tensor
    seed: torch.Tensor


def sample(logits: torch.Tensor, seen: torch.Tensor, step: torch.Tensor, rows: SamplingRows) -> torch.Tensor:
    """The chosen token of each row, int64 [rows]; -1 where the logits are not finite.

    ``logits`` float32 [rows, vocabulary]; ``seen`` bool of the same shape marks tokens to penalise; ``step`` int64
    [rows] counts the tokens that a row has had.
    """
    logits = penalise(logits, seen, rows.repetition_penalty)
    ordered, tokens = torch.sort(logits / rows.temperature[:, None], dim=-1, stable=True)
    ordered = keep_top_k(ordered, rows.top_k)
    ordered = keep_top_p(ordered, rows.top_p)
    noise = gumbel(rows.seed, step, logits.shape[-1]).gather(-1, tokens)
    sampled = tokens.gather(-1, (ordered + noise).argmax(-1, keepdim=True))[:, 0]
    chosen = torch.where(rows.greedy, logits.argmax(-1), sampled)
    return torch.where(logits.isfinite().all(-1), chosen, -1)


def penalise(logits: torch.Tensor, seen: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
    """Seen tokens made less likely: positive logits divided by the row's penalty, negative ones multiplied."""
    factor = penalty[:, None]
    return torch.where(seen, torch.where(logits < 0, logits * factor, logits / factor), logits)


def keep_top_k(ordered: torch.Tensor, top_k: torch.Tensor) -> torch.Tensor:
    """Ascending logits [rows, vocabulary] with -inf for all below the k-th largest of their row."""
    smallest = ordered.gather(-1, (ordered.shape[-1] - top_k)[:, None])
    return ordered.masked_fill(ordered < smallest, -torch.inf)


def keep_top_p(ordered: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Ascending logits with -inf for the least likely ones that make up the last ``1 - top_p``; one stays always."""
    less_likely = ordered.softmax(-1).cumsum(-1)
    drop = less_likely <= (1 - top_p)[:, None]
    drop[:, -1] = False
    return ordered.masked_fill(drop, -torch.inf)


def gumbel(seed: torch.Tensor, step: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Noise [rows, vocabulary] for which argmax(logits + noise) draws from softmax(logits).

    Counter-based: a hash of (seed, step, token) takes the place of a generator with a state.
    """
    row = _hash(_hash(seed & _MASK) ^ _hash((seed >> 32) + _GOLDEN * (step + 1)))
    token = torch.arange(vocabulary, device=seed.device)
    bits = _hash(row[:, None] + _GOLDEN * token)
    uniform = ((bits >> 9).float() + 0.5) * 2.0**-23  # float32 holds it exactly, and never 0 or 1
    return -(-uniform.log()).log()


def _hash(value: torch.Tensor) -> torch.Tensor:
    """A 32-bit integer hash on int64 tensors: the "lowbias32" finaliser of C. Wellons' hash prospector (2018)."""
    value = value & _MASK
    value = ((value ^ (value >> 16)) * 0x7FEB352D) & _MASK
    value = ((value ^ (value >> 15)) * 0x846CA68B) & _MASK
    return value ^ (value >> 16)
