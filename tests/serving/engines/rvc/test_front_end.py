"""The front end beside transformers' own, whose first norm takes all frames of all items."""

from __future__ import annotations

import pytest
import torch
from transformers import HubertConfig, HubertModel

from serving.engines.rvc.front_end import AT_A_TIME, FrontEnd, OwnFramesNorm


@pytest.fixture(scope="module")
def plain() -> HubertModel:
    config = HubertConfig(num_hidden_layers=1, conv_dim=(32,) * 7, hidden_size=32, num_attention_heads=2)
    torch.manual_seed(0)
    model = HubertModel(config).eval().requires_grad_(False)
    norm = model.feature_extractor.conv_layers[0].layer_norm
    norm.weight.uniform_(0.5, 2)
    norm.bias.normal_()
    return model


@pytest.fixture(scope="module")
def norm(plain: HubertModel) -> OwnFramesNorm:
    return OwnFramesNorm(plain.feature_extractor.conv_layers[0].layer_norm)


@pytest.fixture(scope="module")
def front(plain: HubertModel, norm: OwnFramesNorm) -> FrontEnd:
    return FrontEnd(plain.feature_extractor.conv_layers, norm)


def sound(items: int, samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(items, samples, generator=torch.Generator().manual_seed(samples)) + 0.02


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


LENGTHS = [400, 719, 720, 5 * AT_A_TIME + 5, 5 * AT_A_TIME + 10, 11 * AT_A_TIME + 77]


@pytest.mark.parametrize("samples", LENGTHS)
def test_it_hears_what_transformers_does_in_however_many_pieces(
    samples: int, plain: HubertModel, front: FrontEnd
) -> None:
    audio = sound(2, samples)
    found = front(audio)
    assert error(found, plain.feature_extractor(audio)) < 5e-6
    assert found[0].mT.is_contiguous()


def test_what_lies_behind_an_item_is_not_in_its_norm(plain: HubertModel, norm: OwnFramesNorm, front: FrontEnd) -> None:
    audio = sound(2, 12_000)
    audio[1, 8_000:] = 5
    with norm.only([(12_000 - 10) // 5 + 1, (8_000 - 10) // 5 + 1]):
        found = front(audio)
    alone = plain.feature_extractor(audio[1:, :8_000])
    assert error(found[1:, :, : alone.shape[2]], alone) < 5e-6
    assert error(front(audio)[1:, :, : alone.shape[2]], alone) > 0.01
