from pathlib import Path

import pytest
import torch

from tests.factories.rvc import USUAL, Variant, content_of, make_voice


@pytest.mark.parametrize("variant", [USUAL, Variant("v1", 48_000, f0=False)], ids=str)
def test_a_voice_is_laid_out_as_the_webui_exports_it(variant: Variant, tmp_path: Path) -> None:
    content = torch.load(make_voice(tmp_path / "voice.pth", variant), weights_only=True)
    assert list(content) == ["weight", "config", "info", "sr", "f0", "version"]
    assert len(content["config"]) == 18
    assert {tensor.dtype for tensor in content["weight"].values()} == {torch.float16}
    pairs = [key for key in content["weight"] if key.endswith("weight_g")]
    assert len(pairs) == 28 + len(content["config"][12]) * 19
    assert not [key for key in content["weight"] if "enc_q" in key or "parametrizations" in key]


def test_the_same_seed_makes_the_same_voice() -> None:
    one, other = content_of(seed=1)["weight"], content_of(seed=2)["weight"]
    assert torch.equal(one["dec.conv_pre.weight"], content_of(seed=1)["weight"]["dec.conv_pre.weight"])
    assert not torch.equal(one["dec.conv_pre.weight"], other["dec.conv_pre.weight"])


def test_flows_do_something() -> None:
    weights = content_of()["weight"]
    assert all(weights[f"flow.flows.{at}.post.weight"].any() for at in (0, 2, 4, 6))
