import random

import numpy as np
import pytest
import torch

from serving.errors import ModelFilesError
from tests.factories.xtts import SPEAKERS, cached_checkpoint
from training.xtts.base import Base, load_base
from training.xtts.snapshot import apart, snapshot

CPU = torch.device("cpu")


@pytest.fixture
def base() -> Base:
    return load_base(cached_checkpoint(), CPU)


def test_it_has_the_weights_as_they_were_and_the_rest_of_the_base(base: Base) -> None:
    with torch.no_grad():
        base.gpt.mel_head.bias += 1
    before = base.gpt.mel_head.bias.clone()
    loaded = snapshot(base, base.gpt.state_dict())
    with torch.no_grad():
        base.gpt.mel_head.bias += 1
    assert torch.equal(loaded.model.gpt.mel_head.bias, before)
    assert torch.equal(loaded.model.mel_stats, base.mel_stats)
    assert tuple(loaded.speakers) == SPEAKERS
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_weights_of_another_model_are_refused(base: Base, change: str) -> None:
    state = base.gpt.state_dict()
    if change == "missing":
        del state["mel_head.weight"]
    elif change == "surplus":
        state["spare"] = torch.ones(1)
    else:
        state["mel_head.bias"] = torch.ones(3)
    with pytest.raises(ModelFilesError):
        snapshot(base, state)


def test_what_is_drawn_apart_leaves_no_trace() -> None:
    before = torch.get_rng_state()
    with apart(CPU):
        drawn = torch.randn(3), np.random.random(), random.random()
    assert torch.equal(before, torch.get_rng_state())
    assert (np.random.random(), random.random()) == drawn[1:]
    assert torch.equal(torch.randn(3), drawn[0])


def test_the_generators_are_put_back_after_an_error_too() -> None:
    before = torch.get_rng_state()

    def fail() -> None:
        torch.randn(3)
        raise KeyError("x")

    with pytest.raises(KeyError), apart(CPU):
        fail()
    assert torch.equal(before, torch.get_rng_state())
