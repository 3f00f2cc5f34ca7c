import pytest
import torch

from serving.engines.xtts.cache import DecoderShape
from serving.engines.xtts.options import PREFILL_TOKENS, SLOTS, XttsOptions

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 1)
SHAPE = DecoderShape(30, 1024, 16, 1026, 1024, 1025, max_prompt=475, max_audio=602)
"""The released model's."""


@pytest.fixture(autouse=True)
def _gpu_with_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (80 * 10**9, 80 * 10**9))


@pytest.mark.parametrize(("device", "kind"), [(CPU, "cpu"), (CUDA, "cuda")])
def test_the_device_decides_how_much_is_done_at_a_time_unless_told(device: torch.device, kind: str) -> None:
    limits = XttsOptions().limits(device, SHAPE)
    assert (limits.slots, limits.prefill_tokens) == (SLOTS[kind], PREFILL_TOKENS[kind])
    assert limits.padded is (kind == "cuda")
    told = XttsOptions(slots=3, queue=5, queue_age_s=7.0).limits(device, SHAPE)
    assert (told.slots, told.queue, told.queue_age_s) == (3, 5, 7.0)
    assert told.prefill_tokens == limits.prefill_tokens


@pytest.mark.parametrize(("free", "slots"), [(24 * 10**9, 64), (8 * 10**9, 29), (100 * 10**6, 1)])
def test_a_small_gpu_gets_the_slots_that_half_of_its_free_memory_holds(
    free: int, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80 * 10**9))
    assert XttsOptions().limits(CUDA, SHAPE).slots == slots
    assert XttsOptions(slots=200).limits(CUDA, SHAPE).slots == 200


def test_what_loading_has_left_in_torch_s_cache_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [10**9]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: free.append(free.pop() + 50 * 10**9))
    assert XttsOptions().limits(CUDA, SHAPE).slots == 64


@pytest.mark.parametrize(("slots", "whole"), [(1, 1), (7, 1), (8, 2), (64, 16)])
def test_who_makes_room_may_keep_a_quarter_of_what_the_slots_hold(slots: int, whole: int) -> None:
    assert XttsOptions(slots=slots).limits(CPU, SHAPE).saved == whole * SHAPE.positions


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
