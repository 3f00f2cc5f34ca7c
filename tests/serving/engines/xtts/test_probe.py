import math
from typing import Any

import pytest
import torch

from serving.engines.xtts import probe
from serving.engines.xtts.probe import CPU, faults, first_fault, operations
from tests.serving.engines.xtts.broken import BROKEN, CUFFT, Chosen, broken

GPU = torch.device("cuda")


def stft(n_fft: int) -> Chosen:
    return lambda name, args, _: name == "stft" and args[1] == n_fft


def projection(bands: int, frequencies: int) -> Chosen:
    return lambda name, args, _: name == "matmul" and args[1].shape == (frequencies, bands)


def logarithm(size: int) -> Chosen:
    return lambda name, args, _: name == "log" and args[0].shape[-1] == size


def attention(*, causal: bool) -> Chosen:
    return lambda name, _, options: name == "scaled_dot_product_attention" and options.get("is_causal", False) is causal


def convolution(inputs: int, *, dilation: int) -> Chosen:
    def chosen(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> bool:
        return name == "conv2d" and args[0].shape[1] == inputs and options["dilation"][1] == dilation

    return chosen


def transposed(inputs: int) -> Chosen:
    return lambda name, args, _: name == "conv_transpose2d" and args[0].shape[1] == inputs


FAULTS = [
    (stft(2048), "torch.stft of conditioning mel [2, 22050], n_fft 2048"),
    (stft(4096), "torch.stft of perceiver mel [2, 22050], n_fft 4096"),
    (stft(512), "torch.stft of speaker encoder mel [2, 22050], n_fft 512"),
    (projection(80, 1025), "projection and logarithm of conditioning mel [2, 1025, 87] to 80 bands"),
    (logarithm(22), "projection and logarithm of perceiver mel [2, 2049, 22] to 80 bands"),
    (projection(64, 257), "projection and logarithm of speaker encoder mel [2, 257, 138] to 64 bands"),
    (attention(causal=True), "prefill of a layer [2, 100, 1024] in float32"),
    (attention(causal=False), "decode step of a layer [4, 1, 1024] over 160 positions in float32"),
    (logarithm(1026), "sampling of [64, 1026]"),
    (convolution(1024, dilation=1), "convolution [1, 1024, 1, 48] to 512 channels"),
    (transposed(512), "transposed convolution [1, 512, 1, 48] to 256 channels, width 16"),
    (transposed(256), "transposed convolution [1, 256, 1, 384] to 128 channels, width 16"),
    (transposed(128), "transposed convolution [1, 128, 1, 3072] to 64 channels, width 4"),
    (transposed(64), "transposed convolution [1, 64, 1, 6144] to 32 channels, width 4"),
    (convolution(256, dilation=5), "dilated convolutions [1, 256, 1, 384], widths 3, 7 and 11"),
    (convolution(128, dilation=3), "dilated convolutions [1, 128, 1, 3072], widths 3, 7 and 11"),
    (convolution(64, dilation=1), "dilated convolutions [1, 64, 1, 6144], widths 3, 7 and 11"),
    (convolution(32, dilation=3), "dilated convolutions [1, 32, 1, 12288], widths 3, 7 and 11"),
]
"""A part of each operation, and what the fault is called."""


def test_a_device_that_computes_as_the_cpu_does_has_no_fault() -> None:
    assert first_fault(BROKEN) is None


@pytest.mark.parametrize(("chosen", "name"), FAULTS, ids=[name.split(",")[0] for _, name in FAULTS])
def test_each_operation_that_fails_or_is_off_is_named_with_its_shape(chosen: Chosen, name: str) -> None:
    operation = next(operation for operation in operations(CPU) if operation.name == name)
    with broken(chosen):
        assert operation.fault(torch.device(BROKEN)) == f"{name} fails: {CUFFT}"
    with broken(chosen, factor=1.2):
        fault = str(operation.fault(torch.device(BROKEN)))
    assert fault.startswith(f"{name} differs from the CPU by ")
    assert float(fault.removesuffix(" relative").split()[-1]) > 0.01


@pytest.mark.parametrize(("chosen", "name"), [FAULTS[8], FAULTS[11]])
def test_what_several_operations_need_is_named_by_the_one_that_does_nothing_else(chosen: Chosen, name: str) -> None:
    with broken(chosen):
        assert str(first_fault(BROKEN)).startswith(name)


def test_every_operation_has_its_fault_above() -> None:
    assert {operation.name for operation in operations(CPU)} == {name for _, name in FAULTS}


def test_values_that_are_not_numbers_are_a_difference() -> None:
    with broken(stft(512), factor=math.nan):
        assert str(first_fault(BROKEN)).endswith("n_fft 512 differs from the CPU by nan relative")


def test_all_faults_of_a_device_are_told() -> None:
    with broken(lambda name, _, __: name == "conv_transpose2d"):
        found = list(faults(BROKEN))
    assert len(found) == 8
    assert all("convolution" in fault for fault in found)


def test_a_gpu_is_asked_for_the_decoder_in_both_precisions() -> None:
    added = {operation.name for operation in operations(GPU)} - {operation.name for operation in operations(CPU)}
    assert added == {
        "prefill of a layer [2, 100, 1024] in bfloat16",
        "decode step of a layer [4, 1, 1024] over 160 positions in bfloat16",
    }


def test_the_tolerance_of_bfloat16_lets_its_rounding_through_and_nothing_wrong() -> None:
    found = [operation for operation in operations(GPU) if operation.dtype == torch.bfloat16]
    assert [operation.fault(torch.device(BROKEN)) for operation in found] == [None, None]
    for operation, causal in zip(found, (True, False), strict=True):
        with broken(attention(causal=causal), factor=1.5):
            assert "in bfloat16 differs" in str(operation.fault(torch.device(BROKEN)))


def test_the_tolerance_of_tf32_lets_its_rounding_through() -> None:
    class Rounded(torch.overrides.TorchFunctionMode):  # type: ignore[misc]  # torch has no types here
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(func, "__name__", "").startswith("conv"):
                args = (_tf32(args[0]), _tf32(args[1]), *args[2:])
            return func(*args, **(kwargs or {}))

    for operation in operations(CPU)[-9:]:
        expected = operation.on(CPU, torch.float32)
        with Rounded():
            off = (operation.on(CPU, torch.float32) - expected).abs().max() / expected.abs().max()
        assert 1e-5 < off < probe.TF32 / 5, operation.name


def _tf32(x: torch.Tensor) -> torch.Tensor:
    """Rounded to the ten bits of mantissa that a tensor core reads."""
    return ((x.clone().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def test_the_random_numbers_of_the_process_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    assert first_fault("cpu") is None
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_computes_as_the_cpu_does() -> None:
    assert list(faults("cuda")) == []
