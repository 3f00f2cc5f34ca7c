from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("cuda")


class HostReads(TorchDispatchMode):  # type: ignore[misc]  # untyped in torch
    """The names of operations on a GPU that wait for the host or read its memory, which no graph can hold.

    A copy from pinned memory that is only launched is in ``copies`` instead: it holds up nobody outside a graph. Under
    torch's ``FakeTensorMode``, which knows devices and shapes and computes nothing, no GPU is needed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.copies = 0
        self.found: list[str] = []
        self._pinned: list[torch.Tensor] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = operation(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        mixed = {tensor.device.type for tensor in tensors} == {"cpu", "cuda"}
        name = str(operation)
        self.calls += 1
        if kwargs.get("pin_memory"):
            self._pinned.append(result)  # kept, so that no other tensor takes its place
        copy = name.startswith(("aten._to_copy", "aten.to."))  # the latter in inference mode
        if copy and kwargs.get("non_blocking") and self._is_pinned(args[0]):
            self.copies += 1
        elif (mixed and name != "aten.fill_.Tensor") or "_local_scalar_dense" in name or "nonzero" in name:
            self.found.append(name)
        return result

    def _is_pinned(self, tensor: torch.Tensor) -> bool:
        storage = tensor.untyped_storage()._cdata
        return any(pinned.untyped_storage()._cdata == storage for pinned in self._pinned)
