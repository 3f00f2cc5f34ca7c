"""Networks that every RVC voice shares: where on the volume they lie, and tensors from files that may be wrong."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from serving.errors import ModelFilesError

CONTENT_DIRECTORY = "contentvec"
"""Below ``models/shared``: config.json and model.safetensors or pytorch_model.bin of the content encoder."""

RMVPE_FILE = "rmvpe.pt"
"""Below ``models/shared``: the pitch network."""

PULL = "run `kubevoice models pull rvc-base`"


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file, or of a state dict that ``torch.save`` wrote; backed by the file.

    A pickle that asks for more than tensors is refused, not run. Raises ModelFilesError.
    """
    try:
        state: Any = load_file(path) if path.suffix == ".safetensors" else _load_pickle(path)
    except pickle.UnpicklingError as error:
        raise ModelFilesError(
            f"{path} holds more than tensors or is torn ({_reason(error)}); it was not loaded: {PULL}"
        ) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelFilesError(f"{path} is torn or another kind of file ({_reason(error)}); {PULL}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelFilesError(f"{path} is not a table of tensors; {PULL}")
    return {str(key): tensor for key, tensor in state.items()}


def check_tensors(path: Path, tensors: Mapping[str, torch.Tensor], shapes: Mapping[str, Sequence[int]]) -> None:
    """Raise ModelFilesError unless ``tensors`` of ``path`` has all keys of ``shapes``, so shaped and finite."""
    for key, shape in shapes.items():
        if key not in tensors:
            raise ModelFilesError(f"{path} lacks {key} (shape {list(shape)}); {PULL}")
        if list(tensors[key].shape) != list(shape):
            raise ModelFilesError(
                f"{path}: {key} has shape {list(tensors[key].shape)} instead of {list(shape)}; {PULL}"
            )
        if not tensors[key].sum(dtype=torch.float32).isfinite():
            raise ModelFilesError(f"{path}: {key} has values that are not finite; {PULL}")


def to_float32(tensors: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """Copies on ``device``, which outlive the file; floating point as float32, counters as they are."""
    return {
        key: tensor.to(device, torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
        for key, tensor in tensors.items()
    }


def _load_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except RuntimeError as error:
        if "mmap" not in str(error):  # the container of torch before 1.6 cannot be mapped
            raise
        return torch.load(path, map_location="cpu", weights_only=True)


def _reason(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0][:200]
