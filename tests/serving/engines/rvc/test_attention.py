"""oneDNN's attention against the definition in float64."""

from __future__ import annotations

import math

import pytest
import torch

from serving.engines.rvc.attention import onednn_attention


def states(batch: int, frames: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(frames)
    return tuple(torch.randn(batch, 3, frames, 16, generator=generator) for _ in range(3))


def defined(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    scores = query.double() @ key.double().mT / math.sqrt(query.shape[3])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return (scores.softmax(-1) @ value.double()).transpose(1, 2)


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 2), (1, 97), (2, 64), (3, 300)])
def test_every_head_of_every_item_attends_by_itself(batch: int, frames: int) -> None:
    query, key, value = states(batch, frames)
    found, _ = onednn_attention(torch.nn.Module(), query, key, value, None, scaling=0.25)
    assert found.shape == (batch, frames, 3, 16)
    assert found.is_contiguous()
    assert (found - defined(query, key, value)).abs().max() < 3e-6


def test_a_mask_is_followed() -> None:
    query, key, value = states(2, 50)
    mask = (torch.arange(50) < torch.tensor([50, 20])[:, None])[:, None, None].expand(-1, -1, 50, -1)
    found, _ = onednn_attention(torch.nn.Module().eval(), query, key, value, mask, scaling=0.25)
    assert (found - defined(query, key, value, mask)).abs().max() < 3e-6
