"""The encoder of the prompt beside coqui's own ``get_style_emb``, which goes through all the silence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.training.xtts.workbench import CPU, a_base, some_features, whole_prompt
from training.xtts.batches import PROMPT_FRAMES, Batch, collate
from training.xtts.prompt import encode


@pytest.fixture
def gpt() -> Any:
    gpt: Any = a_base().gpt
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for block in gpt.conditioning_encoder.attn:
            block.proj_out.reset_parameters()  # zeros in a fresh one: its attention would have no part in the result
    return gpt


def a_batch_of(*clips: int) -> Batch:
    """The first clip has the shortest prompt, the last one the longest."""
    features = some_features()
    order = sorted(range(len(features)), key=lambda index: features.lengths[index].samples)
    return collate(features, [order[clip] for clip in clips], seed=1, epoch=0, device=CPU)


@pytest.mark.parametrize("clips", [[0], [0, 1, 2], [0, 15], [12, 13, 14, 15]])
def test_one_frame_of_silence_is_worth_all_that_follow(gpt: Any, clips: list[int]) -> None:
    batch = a_batch_of(*clips)
    assert batch.prompt.shape[2] < PROMPT_FRAMES
    wanted = gpt.get_style_emb(whole_prompt(batch)).transpose(1, 2)
    found = encode(gpt, batch.prompt)
    assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()
    gradients = []
    for latents in (wanted, found):
        gpt.zero_grad()
        (latents * torch.linspace(-1, 1, latents.numel()).reshape(latents.shape)).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in gpt.parameters() if p.grad is not None]))
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[0].norm()


def test_a_prompt_without_silence_is_coquis_to_the_bit(gpt: Any) -> None:
    prompt = whole_prompt(a_batch_of(0, 15))
    assert torch.equal(encode(gpt, prompt), gpt.get_style_emb(prompt).transpose(1, 2))


def test_less_silence_changes_the_result(gpt: Any) -> None:
    """So the frames that are left out do count."""
    batch = a_batch_of(0, 1)
    wanted = encode(gpt, batch.prompt)
    found = gpt.get_style_emb(batch.prompt).transpose(1, 2)
    assert (found - wanted).abs().max() > 1e-3 * wanted.abs().max()


def test_short_prompts_are_cheap(gpt: Any) -> None:
    batch = a_batch_of(0, 1)
    frames = batch.prompt.shape[2]
    assert frames < 0.2 * PROMPT_FRAMES
    short, whole = (_operations(gpt, prompt) for prompt in (batch.prompt, whole_prompt(batch)))
    assert short < 0.35 * whole


def _operations(gpt: Any, prompt: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        encode(gpt, prompt).sum().backward()
    return int(counter.get_total_flops())
