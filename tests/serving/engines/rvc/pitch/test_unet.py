import pytest
import torch

from serving.engines.rvc.pitch.unet import SalienceNetwork, shapes
from tests.factories.rmvpe import cached_rmvpe, plain_rmvpe


def mel(items: int, frames: int) -> torch.Tensor:
    return 2 * torch.randn(items, 128, frames, generator=torch.Generator().manual_seed(5)) - 4


def test_the_network_equals_the_one_written_out_layer_by_layer() -> None:
    plain = plain_rmvpe()
    expected = plain(mel(2, 64))
    assert expected.std() > 0.05  # the weights are not so small that any network would do
    assert torch.allclose(SalienceNetwork(plain.state_dict())(mel(2, 64)), expected, atol=2e-6)


def test_every_weight_changes_the_result() -> None:
    weights = dict(plain_rmvpe().state_dict())
    expected = SalienceNetwork(weights)(mel(1, 32))
    blocks = [key for key in shapes(2) if key.endswith(("conv.0.weight", "conv.4.running_var", "bias_ih_l0_reverse"))]
    assert len(blocks) > 100
    for key in [*blocks[::9], "unet.encoder.bn.running_mean", "unet.decoder.layers.4.conv1.1.bias", "cnn.bias"]:
        changed = SalienceNetwork(weights | {key: weights[key] + 0.5})(mel(1, 32))
        assert not torch.equal(changed, expected), key


def test_the_keys_are_those_of_the_released_file() -> None:
    released = sum(torch.Size(shape).numel() for shape in shapes(16).values())
    assert released == pytest.approx(90.4e6, rel=1e-3)
    state = torch.load(cached_rmvpe())
    counters = {key for key in state if key.endswith("num_batches_tracked")}
    assert {key: list(tensor.shape) for key, tensor in state.items() if key not in counters} == shapes(2)
    assert len(state) == 741
