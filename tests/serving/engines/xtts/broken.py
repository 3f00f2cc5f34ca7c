"""A device that computes as the CPU does, but for one kind of call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from serving.engines.xtts import probe

BROKEN = "cpu:1"
"""Tensors there are on the CPU, and the probe takes it for another device."""

CUFFT = "cuFFT error: CUFFT_INVALID_SIZE"

Chosen = Callable[[str, tuple[Any, ...], dict[str, Any]], bool]
"""Whether a call of torch's function of that name with those arguments is broken."""


class _Mode(TorchFunctionMode):  # type: ignore[misc]  # torch has no types here
    def __init__(self, chosen: Chosen, factor: float | None) -> None:
        super().__init__()
        self._chosen, self._factor = chosen, factor

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not self._chosen(getattr(func, "__name__", ""), args, kwargs):
            return result
        if self._factor is None:
            raise RuntimeError(f"{CUFFT}\nand a stack that nobody reads")
        return result * self._factor


@contextlib.contextmanager
def broken(chosen: Chosen, factor: float | None = None) -> Iterator[None]:
    """While it lasts, chosen calls on the device ``BROKEN`` fail, or with a ``factor`` give so much of the result."""
    on = probe.Operation.on

    def there(operation: probe.Operation, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        mode = _Mode(chosen, factor) if device == torch.device(BROKEN) else contextlib.nullcontext()
        with mode:
            return on(operation, device, dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe.Operation, "on", there)
        yield


def spectrograms(name: str, _: tuple[Any, ...], __: dict[str, Any]) -> bool:
    """All short-time Fourier transforms: what the cuFFT of some builds of torch cannot do."""
    return name == "stft"
