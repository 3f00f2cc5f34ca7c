"""The loss of coqui's ``GPT.forward``, as sums, without reading the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from serving.store.training_files import TrainingSettings
from training.xtts.batches import MASK_DIVISORS, STOPS, Batch, PromptMask
from training.xtts.prompt import encode

TEXT_WEIGHT, MEL_WEIGHT = 0.01, 1.0
"""coqui's ``gpt_loss_text_ce_weight`` and ``gpt_loss_mel_ce_weight``."""

IGNORED = -1


@dataclass(frozen=True, slots=True)
class Losses:
    """Scalars on the device: cross entropies summed over targets, how many, and how many codes came out on top."""

    text_sum: torch.Tensor
    text_tokens: torch.Tensor
    mel_sum: torch.Tensor
    mel_tokens: torch.Tensor
    mel_correct: torch.Tensor


LossFunction = Callable[[torch.nn.Module, Batch, PromptMask], Losses]


def losses(gpt: torch.nn.Module, batch: Batch, prompt_mask: PromptMask) -> Losses:
    """One forward pass of coqui's ``GPT`` over ``batch``, teacher forced.

    The same numbers as ``GPT.forward``, which loops over rows on the host. ``prompt_mask`` leaves targets of the
    prompt's own stretch out: "off" none, "full" all of them, "upstream" those that coqui's does: of the last row
    alone, at four times the place.
    """
    model: Any = gpt
    text, text_targets, text_valid = _shifted(
        torch.nn.functional.pad(batch.text, (0, 1)),
        batch.text_lengths,
        1,
        model.start_text_token,
        model.stop_text_token,
    )
    codes, mel_targets, mel_valid = _shifted(
        torch.nn.functional.pad(batch.codes, (0, STOPS)),
        batch.code_lengths,
        STOPS,
        model.start_audio_token,
        model.stop_audio_token,
    )
    text_states = model.text_embedding(text) + model.text_pos_embedding(text)
    mel_states = model.mel_embedding(codes) + model.mel_pos_embedding(codes)
    prompt = encode(model, batch.prompt)
    states = model.gpt(
        inputs_embeds=torch.cat([prompt, text_states, mel_states], dim=1),
        attention_mask=_attention(prompt.shape[1], text_valid, mel_valid),
        use_cache=False,
        return_dict=True,
    ).last_hidden_state
    states = model.final_norm(states[:, prompt.shape[1] :])
    text_logits = model.text_head(states[:, : text.shape[1]])
    mel_logits = model.mel_head(states[:, text.shape[1] :])
    text_targets = text_targets.masked_fill(~text_valid, IGNORED)
    mel_targets = mel_targets.masked_fill(~mel_valid | _masked(batch, mel_targets.shape[1], prompt_mask), IGNORED)
    return Losses(
        text_sum=_cross_entropy(text_logits, text_targets),
        text_tokens=(text_targets != IGNORED).sum(),
        mel_sum=_cross_entropy(mel_logits, mel_targets),
        mel_tokens=(mel_targets != IGNORED).sum(),
        mel_correct=(mel_logits.detach().argmax(-1) == mel_targets).sum(),
    )


def loss_function(settings: TrainingSettings) -> LossFunction:
    """``losses``, compiled where ``settings`` say so; sampling with the same model stays as it is."""
    return torch.compile(losses, dynamic=True) if settings.compile else losses


def total(part: Losses, text_tokens: int, mel_tokens: int) -> torch.Tensor:
    """What a micro-batch adds to the loss of its batch, whose targets the two numbers count (``token_counts``)."""
    return TEXT_WEIGHT * part.text_sum / text_tokens + MEL_WEIGHT * part.mel_sum / mel_tokens


def _shifted(
    tokens: torch.Tensor, lengths: torch.Tensor, stops: int, start: int, stop: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, targets and which of them count, each [b, n + 1], of ``tokens`` [b, n] with stop tokens behind them."""
    places = torch.arange(tokens.shape[1] + 1, device=tokens.device)
    tokens = torch.where(places[:-1] < lengths[:, None], tokens, stop)
    inputs = torch.nn.functional.pad(tokens, (1, 0), value=start)
    targets = torch.nn.functional.pad(tokens, (0, 1), value=stop)
    return inputs, targets, places < lengths[:, None] + stops


def _attention(prompt: int, text: torch.Tensor, mel: torch.Tensor) -> torch.Tensor:
    """Which key each query sees, bool [b, 1, n, n].

    transformers would make the same of a mask of keys, but look on the device whether anything is masked at all.
    """
    keys = torch.cat([text.new_ones(len(text), prompt), text, mel], dim=1)
    causal = keys.new_ones(keys.shape[1], keys.shape[1]).tril()
    return causal & keys[:, None, None, :]


def _masked(batch: Batch, targets: int, prompt_mask: PromptMask) -> torch.Tensor:
    """Which targets are the prompt's own, bool [b, targets]."""
    places = torch.arange(targets, device=batch.codes.device)
    if prompt_mask == "off":
        return places.new_zeros(len(batch), targets, dtype=torch.bool)
    cuts = batch.prompt_samples // MASK_DIVISORS[prompt_mask]
    inside = (cuts[:, :1] <= places) & (places < cuts[:, 1:])
    if prompt_mask == "upstream":
        inside[:-1] = False
    return inside


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Of ``logits`` [b, n, tokens], summed up in coqui's order; on a GPU that would be another order each time."""
    if logits.is_cuda:
        logits, targets = logits.flatten(0, 1), targets.flatten()
    else:
        logits = logits.transpose(1, 2)
    return torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
