"""The thread that owns a GPU launches its work and does not wait for it."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch._subclasses import FakeTensorMode

from serving.engines.base import Sampling
from serving.engines.transfer import to_device
from serving.engines.xtts.cache import SlotCache
from serving.engines.xtts.checkpoint import Latents
from serving.engines.xtts.decoder import Decoder
from serving.engines.xtts.engine import XttsEngine
from serving.engines.xtts.frames import FrameGrid, Window
from serving.engines.xtts.probe import operations
from serving.engines.xtts.vocoder import Vocoder
from tests.factories.sentences import RELEASED, make_request
from tests.serving.engines.xtts.host_reads import GPU, HostReads

SAMPLED = Sampling(temperature=0.75, top_k=50, top_p=0.85, repetition_penalty=5.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("name", "method", "copies"), [("decode step", "step", 0), ("prefill", "prefill", 1)])
def test_neither_a_step_nor_a_prefill_waits_for_the_host(
    name: str, method: str, copies: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, method_itself = HostReads(), getattr(Decoder, method)

    def watched(*args: Any) -> torch.Tensor:
        with reads:
            return cast("torch.Tensor", method_itself(*args))

    monkeypatch.setattr(Decoder, method, watched)
    decode = next(one for one in operations(GPU) if one.name.startswith(name) and one.dtype == dtype)
    with FakeTensorMode():
        decode.compute(GPU, dtype)
    assert reads.calls > 20
    assert (reads.found, reads.copies) == ([], copies)


def test_a_row_begins_without_waiting_for_the_host(decoder: Decoder) -> None:
    with FakeTensorMode():
        cache = SlotCache(decoder.shape, 2, GPU, torch.bfloat16)
        with HostReads() as reads:
            cache.begin(1, SAMPLED, 3)
    assert reads.calls > 10
    assert (reads.found, reads.copies) == ([], 0)


def test_frames_of_a_batch_take_two_copies_that_nobody_waits_for() -> None:
    grid, vocoder = FrameGrid.of(RELEASED), cast("Vocoder", SimpleNamespace(device=GPU))
    with FakeTensorMode():
        latents = torch.zeros(60, 64, device=GPU)
        windows = [(latents, grid, Window(start, start + 48, start, start + 48)) for start in (0, 50, 100)]
        with HostReads() as reads:
            frames = Vocoder.frames(vocoder, windows)
    assert frames.shape == (3, 64, 48)
    assert frames.device.type == "cuda"
    assert (reads.found, reads.copies) == ([], 2)


def test_a_voice_comes_to_the_device_without_waiting_for_it() -> None:
    with FakeTensorMode():
        latents = Latents(torch.zeros(1, 32, 64), torch.zeros(1, 512, 1))
        engine = SimpleNamespace(
            _conditioner=SimpleNamespace(latents=lambda _: latents),
            _decoder=SimpleNamespace(shape=SimpleNamespace(max_prompt=400)),
            _loaded=SimpleNamespace(device=GPU),
        )
        with HostReads() as reads:
            placed = XttsEngine._latents(cast("XttsEngine", engine), make_request("A sentence."))
    assert placed.speaker_embedding.device.type == placed.gpt_cond_latent.device.type == "cuda"
    assert (reads.found, reads.copies) == ([], 2)


def test_what_reads_the_host_s_memory_is_noticed() -> None:
    with FakeTensorMode():
        seen, index = torch.zeros(3, 4, dtype=torch.bool, device=GPU), torch.arange(3, device=GPU)
        with HostReads() as reads:
            seen[index, index] = True
            seen[0, 1] = True
            torch.tensor([1, 2], device=GPU)
            torch.ones(3).to(GPU, non_blocking=True)  # not pinned
            torch.ones(3, pin_memory=True).to(GPU)
            to_device(torch.ones(3), GPU)
    assert len(reads.found) == 5
    assert reads.copies == 1
