import pytest
import torch

from serving.engines.xtts.options import PREFILL_TOKENS, SLOTS, XttsOptions

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 1)


@pytest.mark.parametrize(("device", "kind"), [(CPU, "cpu"), (CUDA, "cuda")])
def test_the_device_decides_how_much_is_done_at_a_time_unless_told(device: torch.device, kind: str) -> None:
    limits = XttsOptions().limits(device)
    assert (limits.slots, limits.prefill_tokens) == (SLOTS[kind], PREFILL_TOKENS[kind])
    told = XttsOptions(slots=3, queue=5, queue_age_s=7.0).limits(device)
    assert (told.slots, told.queue, told.queue_age_s) == (3, 5, 7.0)
    assert told.prefill_tokens == limits.prefill_tokens


@pytest.mark.parametrize(
    ("precision", "device", "weights", "cache"),
    [
        ("auto", CPU, torch.float32, torch.float32),
        ("auto", CUDA, torch.bfloat16, torch.bfloat16),
        ("float32", CPU, torch.float32, torch.float32),
        ("float32", CUDA, torch.float32, torch.float32),
        ("bfloat16", CPU, torch.bfloat16, torch.float32),
        ("bfloat16", CUDA, torch.bfloat16, torch.bfloat16),
    ],
)
def test_half_precision_is_for_a_gpu_and_a_cpu_s_cache_is_never_half(
    precision: str, device: torch.device, weights: torch.dtype, cache: torch.dtype
) -> None:
    options = XttsOptions(decoder_precision=precision)  # type: ignore[arg-type]
    assert (options.weights(device), options.cache(device)) == (weights, cache)
