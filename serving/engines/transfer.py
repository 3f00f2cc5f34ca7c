"""Numbers on their way from the host to the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """``tensor``, which lies on the host, on ``device``.

    The copy to a GPU is launched as everything else: from memory that is not pinned, the host would wait until the GPU
    has done all that was launched before.
    """
    if device.type != "cuda":
        return tensor.to(device)
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor).to(device, non_blocking=True)


def arrays_to_device(arrays: Sequence[NDArray[Any]], device: torch.device) -> list[torch.Tensor]:
    """``arrays``, at least one and all of one dtype, on ``device`` with a single copy."""
    flat = to_device(torch.from_numpy(np.concatenate([array.ravel() for array in arrays])), device)
    parts = flat.split([array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]
