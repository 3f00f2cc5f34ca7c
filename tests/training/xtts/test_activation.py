from __future__ import annotations

import torch
from transformers.activations import NewGELUActivation

from training.xtts.activation import GeluNew


def test_it_is_transformers_gelu_new_to_the_bit() -> None:
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.randn(10_000, generator=torch.Generator().manual_seed(0))])
    assert torch.equal(GeluNew()(x), NewGELUActivation()(x))


def test_its_gradient_is_the_derivative() -> None:
    x = torch.linspace(-6, 6, 101, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(GeluNew(), (x,))


def test_it_keeps_its_input_and_nothing_else() -> None:
    kept: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    x = torch.randn(8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        GeluNew()(x)
    assert [tensor.data_ptr() for tensor in kept] == [x.data_ptr()]
