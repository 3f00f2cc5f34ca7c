"""GPT-2's activation, to the bit, with a backward pass that needs its input alone."""

from __future__ import annotations

from typing import Any

import torch


class _GeluNew(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        """In the order of transformers' ``NewGELUActivation``: torch's own fused one rounds otherwise.

        The formula is of Hendrycks and Gimpel, "Gaussian Error Linear Units", with the root of 2/pi. The numbers are
        literals: torch.compile makes inputs of those that have a name, and fails to bring them in here.
        """
        inner = 0.7978845608028654 * (x + 0.044715 * torch.pow(x, 3.0))
        return 0.5 * x * (1.0 + torch.tanh(inner))

    @staticmethod
    def setup_context(context: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        context.save_for_backward(*inputs)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = context.saved_tensors
        result: torch.Tensor = torch.ops.aten.gelu_backward(gradient, x, approximate="tanh")
        return result


class GeluNew(torch.nn.Module):  # type: ignore[misc]
    """``gelu_new`` of transformers; of five tensors as large as its input, it keeps one for the backward pass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = _GeluNew.apply(x)
        return result
