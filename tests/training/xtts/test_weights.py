"""AdamW's state goes into a file and back."""

from __future__ import annotations

import pytest
import torch

from serving.errors import ModelFilesError
from serving.store.training_files import TrainingSettings
from training.xtts.weights import optimizer_state, put_optimizer_state, put_weights


def optimizer(width: int = 4, rate: float = 0.1) -> torch.optim.AdamW:
    torch.manual_seed(0)
    first, second = (torch.nn.Parameter(torch.randn(width, size)) for size in (3, 5))
    return torch.optim.AdamW([{"params": [first]}, {"params": [second], "weight_decay": 0.0}], lr=rate, fused=True)


def step(optimizer: torch.optim.AdamW) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = parameter.detach().sin()
    optimizer.step()


def test_it_goes_on_as_if_it_had_not_been_away() -> None:
    whole, part, resumed = optimizer(), optimizer(), optimizer(rate=0.5)
    for each in (whole, part):
        step(each)
    with torch.no_grad():
        for ours, theirs in zip(resumed.param_groups, part.param_groups, strict=True):
            ours["params"][0].copy_(theirs["params"][0])
    put_optimizer_state(resumed, {name: tensor.clone() for name, tensor in optimizer_state(part).items()})
    assert [group["lr"] for group in resumed.param_groups] == [0.5, 0.5], "what is set now counts"
    for group in resumed.param_groups:
        group["lr"] = 0.1
    for each in (whole, resumed):
        step(each)
    for ours, theirs in zip(resumed.param_groups, whole.param_groups, strict=True):
        assert torch.equal(ours["params"][0], theirs["params"][0])


def test_that_of_another_model_is_refused() -> None:
    larger = optimizer(width=8)
    step(larger)
    with pytest.raises(ModelFilesError, match="optimizer of another model"):
        put_optimizer_state(optimizer(), optimizer_state(larger))


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(ModelFilesError, match="of another model"):
        put_weights(torch.nn.Linear(3, 4), TrainingSettings(), torch.nn.Linear(3, 5).state_dict())
