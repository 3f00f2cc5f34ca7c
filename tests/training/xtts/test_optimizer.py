from __future__ import annotations

from typing import Any

import pytest
import torch

from serving.store.training_files import TrainingSettings
from tests.training.xtts.workbench import a_base
from training.xtts import lora
from training.xtts.optimizer import learning_rate, make_optimizer


def names(gpt: torch.nn.Module, group: dict[str, Any]) -> set[str]:
    inside = {id(parameter) for parameter in group["params"]}
    return {name for name, parameter in gpt.named_parameters() if id(parameter) in inside}


def test_only_weights_decay() -> None:
    gpt = a_base().gpt
    optimizer = make_optimizer(gpt, TrainingSettings(weight_decay=0.02))
    decayed, kept = optimizer.param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.02, 0.0)
    assert decayed["betas"] == (0.9, 0.96)
    assert names(gpt, decayed) | names(gpt, kept) == {name for name, _ in gpt.named_parameters()}
    for name in ("gpt.h.0.attn.c_attn.weight", "mel_head.weight", "conditioning_encoder.attn.0.qkv.weight"):
        assert name in names(gpt, decayed)
    for name in ("gpt.h.0.ln_1.weight", "gpt.h.0.attn.c_attn.bias", "text_embedding.weight", "final_norm.weight"):
        assert name in names(gpt, kept)
    assert "mel_pos_embedding.emb.weight" in names(gpt, kept)
    assert "conditioning_perceiver.latents" in names(gpt, kept)


def test_with_adapters_it_has_nothing_else() -> None:
    gpt = a_base().gpt
    lora.add(gpt, rank=2, seed=1)
    optimizer = make_optimizer(gpt, TrainingSettings(method="lora"))
    assert set.union(*(names(gpt, group) for group in optimizer.param_groups)) == set(lora.state(gpt))


def test_the_learning_rate_climbs_and_falls_to_a_tenth() -> None:
    settings = TrainingSettings(learning_rate=1e-3, warmup_steps=4)
    rates = [learning_rate(settings, step, 20) for step in range(20)]
    assert rates[:5] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] == pytest.approx(1e-4)
    assert len(set(rates)) == 19


def test_more_warm_up_than_steps_and_a_single_step_are_fine() -> None:
    assert learning_rate(TrainingSettings(learning_rate=1e-3, warmup_steps=10), 0, 3) == pytest.approx(1e-4)
    assert learning_rate(TrainingSettings(learning_rate=1e-3, warmup_steps=0), 0, 1) == pytest.approx(1e-3)
    constant = TrainingSettings(learning_rate=1e-3, warmup_steps=2, schedule="constant")
    assert [learning_rate(constant, step, 5) for step in range(5)] == pytest.approx([5e-4, 1e-3, 1e-3, 1e-3, 1e-3])


def test_without_one_it_is_the_methods_own() -> None:
    after = {method: learning_rate(TrainingSettings(method=method), 20, 1000) for method in ("full", "lora")}
    assert after == pytest.approx({"full": 5e-6, "lora": 1e-4})
