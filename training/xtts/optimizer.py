"""AdamW as coqui's recipe has it, and the learning rate of each step."""

from __future__ import annotations

import math
from typing import Any

import torch

from serving.store.training_files import TrainingSettings

BETAS = (0.9, 0.96)
LEARNING_RATES = {"full": 5e-6, "lora": 1e-4}
FINAL_SHARE = 0.1
"""Of the highest learning rate, at the end of the cosine."""

TABLES = (torch.nn.Embedding, torch.nn.EmbeddingBag)


def make_optimizer(gpt: torch.nn.Module, settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW over what is trainable in ``gpt``; weights decay, but not biases, norms and embeddings."""
    tables = {id(parameter) for module in gpt.modules() if isinstance(module, TABLES) for parameter in _own(module)}
    decayed: list[torch.nn.Parameter] = []
    kept: list[torch.nn.Parameter] = []
    for name, parameter in gpt.named_parameters():
        if parameter.requires_grad:
            exempt = parameter.ndim < 2 or id(parameter) in tables or name.endswith(".latents")
            (kept if exempt else decayed).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=highest_rate(settings), betas=BETAS, fused=True)


def highest_rate(settings: TrainingSettings) -> float:
    """The learning rate after the warm-up."""
    return settings.learning_rate if settings.learning_rate is not None else LEARNING_RATES[settings.method]


def learning_rate(settings: TrainingSettings, step: int, steps: int) -> float:
    """Of ``step`` (0 is the first) of ``steps``; set it in every parameter group before the step."""
    highest = highest_rate(settings)
    if step < settings.warmup_steps:
        return highest * (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return highest
    share = min(1.0, (step - settings.warmup_steps) / max(1, steps - 1 - settings.warmup_steps))
    return highest * (FINAL_SHARE + (1 - FINAL_SHARE) * (1 + math.cos(math.pi * share)) / 2)


def _own(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    return list(module.parameters(recurse=False))
