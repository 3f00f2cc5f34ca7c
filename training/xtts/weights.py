"""What of the decoder and of AdamW a checkpoint holds, and how it is put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from serving.errors import ModelFilesError
from serving.store.training_files import TrainingSettings
from training.xtts import lora

PARTED = "/"
"""Between the number of a parameter and the name of its state: 12/exp_avg."""


def weights(gpt: torch.nn.Module, settings: TrainingSettings) -> dict[str, torch.Tensor]:
    """All that training changes: the decoder, or the adapters alone."""
    if settings.method == "lora":
        return lora.state(gpt)
    state: dict[str, torch.Tensor] = gpt.state_dict()
    return state


def put_weights(gpt: torch.nn.Module, settings: TrainingSettings, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put ``weights`` of an equal model back; raises ModelFilesError."""
    if settings.method == "lora":
        lora.load_state(gpt, tensors)
        return
    try:
        gpt.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ModelFilesError(f"the checkpoint is of another model: {str(error)[:300]}; start a new run") from None


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The tensors of AdamW. Its learning rate and weight decay are settings, which a resumed run may have others of."""
    state: dict[int, dict[str, torch.Tensor]] = optimizer.state_dict()["state"]
    return {f"{number}{PARTED}{name}": tensor for number, part in state.items() for name, tensor in part.items()}


def put_optimizer_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put ``optimizer_state`` of an optimizer over equal parameters back; raises ModelFilesError."""
    groups: list[dict[str, Any]] = optimizer.state_dict()["param_groups"]
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(PARTED)
        if int(number) >= len(shapes) or tensor.shape not in (shapes[int(number)], ()):
            raise ModelFilesError("the checkpoint has the optimizer of another model; start a new run")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": groups})
