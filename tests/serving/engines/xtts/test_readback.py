import numpy as np
import pytest
import torch

from serving.engines.xtts.readback import Readback


def test_on_a_cpu_the_values_are_there_at_once() -> None:
    readback = Readback(torch.tensor([[1, -1], [1025, 0]]))
    assert readback.ready
    values = readback.get()
    assert isinstance(values, np.ndarray)
    assert (values.dtype, values.tolist()) == (np.int64, [[1, -1], [1025, 0]])


def test_values_made_in_inference_mode_are_read_as_well() -> None:
    with torch.inference_mode():
        assert Readback(torch.ones(2)).get().tolist() == [1.0, 1.0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_s_values_are_those_at_the_time_of_the_copy() -> None:
    tensor = torch.zeros(1000, device="cuda")
    readbacks = []
    for step in range(1, 50):
        tensor.fill_(step)
        readbacks.append(Readback(tensor))
    assert [set(readback.get().tolist()) for readback in readbacks] == [{float(step)} for step in range(1, 50)]
    assert all(readback.ready for readback in readbacks)
