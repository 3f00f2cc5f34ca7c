"""Low-rank adapters beside the decoder's linear layers (Hu et al., "LoRA: Low-Rank Adaptation"), by peft."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from serving.errors import ModelFilesError

TARGETS = ("c_attn", "c_proj", "c_fc")
"""GPT-2's linear layers: attention in and out, and the MLP's two."""

ADAPTER = "default"
"""peft's name of the only one."""

OWN, PLAIN = "lora_", ".base_layer"
"""What an adapter's tensors, and the weights it was put beside, have in their names."""


def add(gpt: torch.nn.Module, rank: int, seed: int) -> None:
    """Put adapters of ``rank`` into ``gpt``, drawn by ``seed``; nothing else of it is trainable from now on.

    They add nothing before the first step; their scale alpha is ``2 * rank``.
    """
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS), fan_in_fan_out=True)
    device = next(gpt.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, gpt, ADAPTER)


def state(gpt: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The adapters' tensors alone, by name; empty without adapters."""
    return {name: tensor for name, tensor in gpt.state_dict().items() if OWN in name}


def load_state(gpt: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put ``state`` of an equal model back; raises ModelFilesError when it is of another one."""
    expected = state(gpt)
    if {name: tensor.shape for name, tensor in tensors.items()} != {
        name: tensor.shape for name, tensor in expected.items()
    }:
        raise ModelFilesError(
            "the adapters are of another model or rank; take the settings method and lora_rank they were trained with"
        )
    gpt.load_state_dict(dict(tensors), strict=False)


@torch.no_grad()  # type: ignore[untyped-decorator]
def merged_state(gpt: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights of ``gpt`` under their plain names with the adapters added; ``gpt`` itself stays as it is.

    Without adapters it is ``state_dict()``. Weights that no adapter changes are the model's own, not copies.
    """
    weights = {name.replace(PLAIN, ""): tensor for name, tensor in gpt.state_dict().items() if OWN not in name}
    for name, layer in _adapted(gpt):
        weights[f"{name}.weight"] = weights[f"{name}.weight"] + layer.get_delta_weight(ADAPTER)
    return weights


def _adapted(gpt: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    return ((name, module) for name, module in gpt.named_modules() if isinstance(module, LoraLayer))
