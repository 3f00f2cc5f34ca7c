"""Results on their way from the device to the host."""

from __future__ import annotations

from typing import Any

import torch


class Readback:
    """A copy of ``tensor`` that is under way: on a GPU it waits for what was launched before, the host does not."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._event: Any = None
        if tensor.device.type == "cuda":
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._source = tensor  # kept, so that its memory is not given to others before the copy is done
            self._event = torch.cuda.Event()
            self._event.record()
        else:
            self._host = tensor

    @property
    def ready(self) -> bool:
        """Whether ``get`` would not wait."""
        return self._event is None or self._event.query()

    def get(self) -> Any:
        """The values as a numpy array; waits for the device."""
        if self._event is not None:
            self._event.synchronize()
        return self._host.numpy()
