from __future__ import annotations

from typing import Any

import pytest
import torch

from serving.errors import ModelFilesError
from serving.store.training_files import TrainingSettings
from tests.training.xtts.workbench import CPU, a_base, some_features
from training.xtts import lora
from training.xtts.batches import Batch, collate
from training.xtts.loss import losses, total
from training.xtts.optimizer import make_optimizer

SETTINGS = TrainingSettings(method="lora", learning_rate=1e-2)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return collate(some_features(), [0, 1], seed=1, epoch=0, device=CPU)


def trained(batch: Batch, steps: int = 4, rank: int = 4) -> Any:
    gpt = a_base().gpt
    lora.add(gpt, rank=rank, seed=1)
    optimizer = make_optimizer(gpt, SETTINGS)
    for step in range(steps):
        torch.manual_seed(step)
        total(losses(gpt, batch, "off"), 100, 100).backward()
        optimizer.step()
        optimizer.zero_grad()
    return gpt.eval()


def test_adapters_change_nothing_before_the_first_step_and_the_loss_falls_after(batch: Batch) -> None:
    plain = losses(a_base().gpt.eval(), batch, "off").mel_sum.item()
    assert losses(trained(batch, steps=0), batch, "off").mel_sum.item() == plain
    assert losses(trained(batch, steps=6), batch, "off").mel_sum.item() < 0.9 * plain


def test_the_merged_weights_have_the_plain_names_and_the_same_loss(batch: Batch) -> None:
    gpt, plain = trained(batch), a_base().gpt.eval()
    before = {name: tensor.clone() for name, tensor in gpt.state_dict().items()}
    merged = lora.merged_state(gpt)
    assert list(merged) == list(plain.state_dict())
    plain.load_state_dict(merged, strict=True)
    expected, found = losses(gpt, batch, "off"), losses(plain, batch, "off")
    assert found.mel_sum.item() == pytest.approx(expected.mel_sum.item(), rel=1e-5)
    assert found.text_sum.item() == pytest.approx(expected.text_sum.item(), rel=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in gpt.state_dict().items()), "training was disturbed"


def test_training_moves_the_adapters_alone(batch: Batch) -> None:
    gpt, plain = trained(batch), a_base().gpt.state_dict()
    adapted = {name.removesuffix(".lora_B.default.weight") for name in lora.state(gpt) if "lora_B" in name}
    assert len(adapted) == 2 * 4
    for name, tensor in lora.merged_state(gpt).items():
        assert torch.equal(tensor, plain[name]) == (name.removesuffix(".weight") not in adapted)


def test_adapters_are_kept_apart_and_put_back(batch: Batch) -> None:
    gpt = trained(batch)
    kept = {name: tensor.clone() for name, tensor in lora.state(gpt).items()}
    assert sum(tensor.numel() for tensor in kept.values()) < 0.05 * sum(p.numel() for p in gpt.parameters())
    again = trained(batch, steps=0)
    lora.load_state(again, kept)
    assert losses(again, batch, "off").mel_sum.item() == losses(gpt, batch, "off").mel_sum.item()


def test_adapters_of_another_rank_are_refused(batch: Batch) -> None:
    with pytest.raises(ModelFilesError, match="lora_rank"):
        lora.load_state(trained(batch, steps=0), lora.state(trained(batch, steps=0, rank=8)))


def test_they_are_drawn_by_the_seed_and_take_nothing_from_other_draws() -> None:
    models = [a_base().gpt for _ in range(3)]
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    for gpt, seed in zip(models, (1, 1, 2), strict=True):
        lora.add(gpt, rank=4, seed=seed)
    assert torch.equal(torch.rand(3), expected)
    first, same, other = (torch.cat([tensor.flatten() for tensor in lora.state(gpt).values()]) for gpt in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_without_adapters_the_merged_weights_are_the_models_own() -> None:
    gpt = a_base().gpt
    assert lora.state(gpt) == {}
    assert {name: tensor.data_ptr() for name, tensor in lora.merged_state(gpt).items()} == {
        name: tensor.data_ptr() for name, tensor in gpt.state_dict().items()
    }
