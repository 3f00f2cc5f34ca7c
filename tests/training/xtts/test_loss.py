"""The loss beside coqui's own ``GPT.forward``, and that it teaches what it should."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from serving.store.training_files import TrainingSettings
from tests.training.xtts.workbench import CPU, a_base, a_batch, some_features, whole_prompt
from training.xtts.base import configure
from training.xtts.batches import Batch, PromptMask, collate, token_counts
from training.xtts.features import Features
from training.xtts.loss import Losses, losses, total
from training.xtts.optimizer import make_optimizer

SETTINGS = TrainingSettings(learning_rate=5e-3)


@pytest.fixture(scope="module")
def features() -> Features:
    return some_features()


@pytest.fixture
def gpt() -> Any:
    return a_base().gpt


def coqui(gpt: Any, batch: Batch, features: Features, clips: list[int], *, masked: bool) -> tuple[float, float]:
    """Its losses of text and audio; it writes to what it is given."""
    samples = torch.tensor([features.lengths[index].samples for index in clips])
    text, mel, _ = gpt(
        batch.text.clone(),
        batch.text_lengths,
        batch.codes.clone(),
        samples,
        cond_mels=whole_prompt(batch)[:, None],
        cond_idxs=batch.prompt_samples.clone() if masked else None,
    )
    return text.item(), mel.item()


def means(part: Losses) -> tuple[float, float]:
    return (part.text_sum / part.text_tokens).item(), (part.mel_sum / part.mel_tokens).item()


def rounded(expected: tuple[float, float]) -> Any:
    """Equal to the bit where the processor multiplies and adds at once, to the last digit where it cannot."""
    return pytest.approx(expected, rel=1e-6)


def counts(part: Losses) -> tuple[int, int]:
    return int(part.text_tokens), int(part.mel_tokens)


@pytest.mark.parametrize("clips", [[0], [3, 1], [4, 11, 2, 7, 9, 5]])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("prompt_mask", ["off", "upstream"])
def test_the_loss_is_coquis(
    gpt: Any, features: Features, clips: list[int], training: bool, prompt_mask: PromptMask
) -> None:
    gpt.train(training)
    batch = collate(features, clips, seed=1, epoch=0, device=CPU)
    torch.manual_seed(5)
    expected = coqui(gpt, batch, features, clips, masked=prompt_mask == "upstream")
    configure(gpt, TrainingSettings())
    torch.manual_seed(5)
    part = losses(gpt, batch, prompt_mask)
    assert means(part) == rounded(expected)
    counted = token_counts([clips], features.lengths, prompt_mask, seed=1, epoch=0)
    assert counted == counts(part)


def test_the_full_mask_is_for_every_row_and_upstream_for_the_last_one_at_the_wrong_place(
    gpt: Any, features: Features
) -> None:
    gpt.eval()
    batch = collate(features, [4, 11], seed=1, epoch=0, device=CPU)
    batch = replace(batch, prompt_samples=torch.tensor([[1024, 5120], [2048, 9216]]))
    off, full, upstream = (losses(gpt, batch, mask).mel_tokens.item() for mask in ("off", "full", "upstream"))
    assert off - full == 4 + 7
    assert off - upstream == 7 * 4
    assert means(losses(gpt, batch, "upstream")) == rounded(coqui(gpt, batch, features, [4, 11], masked=True))


@pytest.mark.parametrize("epoch", [0, 1, 2, None])
@pytest.mark.parametrize("prompt_mask", ["full", "upstream"])
def test_masked_targets_are_counted_without_the_batch(
    gpt: Any, features: Features, epoch: int | None, prompt_mask: PromptMask
) -> None:
    clips = [4, 11, 2]
    part = losses(gpt, collate(features, clips, seed=1, epoch=epoch, device=CPU), prompt_mask)
    counted = token_counts([clips], features.lengths, prompt_mask, seed=1, epoch=epoch)
    assert counted == counts(part)


def test_micro_batches_add_up_to_the_loss_and_the_gradient_of_one_batch(gpt: Any, features: Features) -> None:
    gpt.eval()  # without dropout, which each micro-batch draws for itself
    clips = [0, 5, 9, 14]
    whole = token_counts([clips], features.lengths, "full", seed=1, epoch=0)
    found = []
    for parts in ([clips], [clips[:1], clips[1:]]):
        gpt.zero_grad()
        value = 0.0
        for part in parts:
            loss = total(losses(gpt, collate(features, part, seed=1, epoch=0, device=CPU), "full"), *whole)
            loss.backward()
            value += loss.item()
        found.append((value, torch.cat([p.grad.flatten() for p in gpt.parameters() if p.grad is not None])))
    (one, gradient), (several, accumulated) = found
    assert several == pytest.approx(one, rel=1e-6)
    assert (gradient - accumulated).norm() < 1e-5 * gradient.norm()


def test_what_is_kept_for_the_backward_pass_changes_no_gradient(features: Features) -> None:
    batch = collate(features, [0, 5], seed=1, epoch=0, device=CPU)
    gradients, values = [], []
    for settings in (
        None,
        TrainingSettings(gradient_checkpointing=False),
        TrainingSettings(gradient_checkpointing=True),
    ):
        gpt: Any = a_base().gpt
        if settings:
            configure(gpt, settings)
        torch.manual_seed(3)
        part = losses(gpt, batch, "off")
        total(part, 1, 1).backward()
        values.append(part.mel_sum.item())
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in gpt.parameters()]))
    assert values[0] == values[1] == values[2]
    assert torch.equal(gradients[1], gradients[2]), "dropout was drawn anew"
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[0].norm()


def test_it_compiles_as_one_graph(gpt: Any, features: Features) -> None:
    """Traced by torch.compile, but run as it is: the code that it would make needs a compiler and a minute."""
    configure(gpt, SETTINGS)
    batch = collate(features, [0, 5], seed=1, epoch=0, device=CPU)
    compiled = torch.compile(losses, dynamic=True, fullgraph=True, backend="eager")
    try:
        found = []
        for function in (losses, compiled):
            torch.manual_seed(3)
            part = function(gpt, batch, "upstream")
            total(part, *counts(part)).backward()
            found.append(means(part))
        assert found[0] == found[1]
    finally:
        torch.compiler.reset()


def test_the_loss_of_clips_falls(gpt: Any, features: Features) -> None:
    configure(gpt, SETTINGS)
    optimizer = make_optimizer(gpt, SETTINGS)
    batch = collate(features, [0, 1, 2, 3], seed=1, epoch=0, device=CPU)
    values = []
    for step in range(12):
        torch.manual_seed(step)
        part = losses(gpt, batch, "upstream")
        values.append((part.mel_sum / part.mel_tokens).item())
        total(part, 100, 100).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert min(values[-3:]) < 0.7 * values[0]


def test_a_batch_is_learned_by_heart_from_its_text_and_from_its_prompt() -> None:
    """Eight utterances of two codes each: who cannot tell them apart pays log(8) for the first of 6 targets, 0.35."""
    torch.manual_seed(0)
    text = torch.randint(20, 500, (8, 5))
    codes = torch.arange(8)[:, None] * 100 + torch.tensor([3, 50])
    prompt = torch.randn(8, 80, 2)
    told = {
        "text": a_batch(text, codes, prompt[:1].repeat(8, 1, 1)),
        "prompt": a_batch(text[:1].repeat(8, 1), codes, prompt),
        "nothing": a_batch(text[:1].repeat(8, 1), codes, prompt[:1].repeat(8, 1, 1)),
    }
    floor = math.log(8) / 6
    learned = {name: _learned(batch) for name, batch in told.items()}
    assert learned["text"] < 0.05
    assert learned["prompt"] < 0.05
    assert learned["nothing"] > 0.95 * floor


def _learned(batch: Batch) -> float:
    """The loss a code after training on ``batch`` alone, without dropout."""
    gpt: Any = a_base().gpt.eval()
    optimizer = make_optimizer(gpt, SETTINGS)
    for _ in range(50):
        part = losses(gpt, batch, "off")
        total(part, 8 * 6, 8 * 6).backward()
        optimizer.step()
        optimizer.zero_grad()
    part = losses(gpt, batch, "off")
    assert part.mel_tokens == 8 * 6
    return means(part)[1]
