import numpy as np
import pytest
import torch

from serving.engines.transfer import arrays_to_device, to_device

DEVICES = [
    torch.device("cpu"),
    pytest.param(torch.device("cuda"), marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


@pytest.mark.parametrize("device", DEVICES)
def test_a_tensor_arrives_as_it_left(device: torch.device) -> None:
    tensor = torch.arange(12.0).view(3, 4).T
    arrived = to_device(tensor, device)
    assert arrived.device.type == device.type
    assert torch.equal(arrived.cpu(), tensor)


@pytest.mark.parametrize("device", DEVICES)
def test_arrays_that_travel_together_arrive_apart(device: torch.device) -> None:
    arrays = [np.arange(6).reshape(2, 3), np.arange(8).reshape(4, 2)[:, ::-1], np.array([7])]
    arrived = arrays_to_device(arrays, device)
    assert all(np.array_equal(tensor.cpu().numpy(), array) for tensor, array in zip(arrived, arrays, strict=True))
    assert {tensor.dtype for tensor in arrived} == {torch.int64}
