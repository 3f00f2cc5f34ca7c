"""The model that training starts from, and how much memory its training takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from serving.engines.xtts.checkpoint import owned, read_config, read_parts
from serving.store.training_files import TrainingSettings
from training.xtts.activation import GeluNew

if TYPE_CHECKING:
    from TTS.tts.configs.xtts_config import XttsConfig

PREFIX = "gpt."
"""Of the decoder's weights in a checkpoint."""


@dataclass(frozen=True, slots=True)
class Base:
    """``gpt`` is coqui's decoder with its training layers only, trainable, float32 on ``device``.

    ``other`` has the checkpoint's remaining weights (``hifigan_decoder.*``, ``mel_stats``) on the CPU, backed by the
    file: an export takes them as they are.
    """

    directory: Path
    gpt: torch.nn.Module
    tokenizer: Any
    config: XttsConfig
    device: torch.device
    other: dict[str, torch.Tensor]

    @property
    def mel_stats(self) -> torch.Tensor:
        """What each mel bin is divided by, float32 [80]."""
        return self.other["mel_stats"]


def load_base(directory: Path, device: torch.device) -> Base:
    """The model in ``directory``, such as ``models/xtts/<name>/<revision>``.

    Raises ModelFilesError naming the file (and key) that is missing, torn or of another shape than config.json says.
    """
    parts = read_parts(directory, read_config(directory))
    gpt = parts.model.gpt
    state = {key.removeprefix(PREFIX): owned(parts, key, device) for key in parts.weights if key.startswith(PREFIX)}
    gpt.load_state_dict(state, strict=True, assign=True)
    other = {key: tensor for key, tensor in parts.weights.items() if not key.startswith(PREFIX)}
    gpt.to(device).train().requires_grad_(True)
    return Base(directory, gpt, parts.tokenizer, parts.config, device, other)


def configure(gpt: torch.nn.Module, settings: TrainingSettings) -> None:
    """Let ``gpt`` keep less for the backward pass; its outputs stay the same to the bit.

    GPT-2's activation keeps its input alone instead of five tensors. With gradient checkpointing (empty: on a GPU) a
    block keeps its input and computes the rest again, with the same dropout.
    """
    decoder: Any = gpt.gpt
    for block in decoder.h:
        block.mlp.act = GeluNew()
    wanted = settings.gradient_checkpointing
    if wanted is None:
        wanted = next(gpt.parameters()).device.type != "cpu"
    # gradient_checkpointing_enable() asks for input embeddings, which this GPT-2 has none of.
    decoder._set_gradient_checkpointing(enable=wanted, gradient_checkpointing_func=_recomputed)


def _recomputed(function: Any, *arguments: Any) -> Any:
    return torch.utils.checkpoint.checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=True)
