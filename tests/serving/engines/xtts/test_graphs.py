import contextlib
import logging
from types import SimpleNamespace

import pytest
import torch

from serving.engines.base import Sampling
from serving.engines.xtts import graphs
from serving.engines.xtts.cache import SlotCache
from serving.engines.xtts.checkpoint import load_checkpoint
from serving.engines.xtts.decoder import Decoder, Prompt
from serving.engines.xtts.decoding import POSITIONS
from serving.engines.xtts.graphs import GraphedStep, stepper
from tests.factories.xtts import cached_checkpoint

SAMPLED = Sampling(temperature=0.75, top_k=50, top_p=0.85, repetition_penalty=5.0)
GPU = torch.device("cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def make_cache(decoder: Decoder, slots: int) -> SlotCache:
    return SlotCache(decoder.shape, slots, decoder.device, torch.float32)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_cpu_takes_the_decoder_s_own_steps(decoder: Decoder, wanted: bool) -> None:
    assert stepper(decoder, make_cache(decoder, 2), graphs=wanted) == decoder.step


def test_a_gpu_takes_graphs_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    step = object()
    decoder = SimpleNamespace(device=torch.device("cuda"), step=step)
    monkeypatch.setattr(graphs, "GraphedStep", lambda *made_of: made_of)
    cache = object()
    assert stepper(decoder, cache, graphs=True) == (decoder, cache)  # type: ignore[arg-type, comparison-overlap]
    assert stepper(decoder, cache, graphs=False) is step  # type: ignore[arg-type]


def test_sizes_that_cannot_be_captured_stop_no_others_and_are_told_once(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def capture(self: GraphedStep, rows: int, positions: int) -> tuple[int, int]:
        if rows == 2:
            raise RuntimeError(f"no graph of {rows}")
        return rows, positions

    monkeypatch.setattr(GraphedStep, "_capture", capture)
    for name in ("graph_pool_handle", "Stream"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    step = GraphedStep(decoder, make_cache(decoder, 5))
    assert {rows for rows, _ in step._graphs} == {1, 4, 5}
    kinds = len(step._graphs) // 3
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"{kinds} of {4 * kinds} kinds" in record.getMessage()
    assert "no graph of 2" in record.getMessage()


@pytest.fixture
def on_gpu() -> Decoder:
    return Decoder.take(load_checkpoint(cached_checkpoint(), torch.device("cuda")).model.gpt, torch.float32)


def begin(decoder: Decoder, cache: SlotCache, rows: int) -> None:
    for row in range(rows):
        random = torch.Generator().manual_seed(row)
        prompt = Prompt(torch.randn(32, 64, generator=random).cuda(), list(range(5, 15 + 3 * row)))
        cache.begin(row, SAMPLED, row)
        decoder.prefill([prompt], cache, row)


@needs_gpu
def test_graphs_choose_the_tokens_that_the_decoder_chooses_at_every_size(on_gpu: Decoder) -> None:
    slots, positions = 7, POSITIONS["cuda"]
    cache, plain = make_cache(on_gpu, slots), make_cache(on_gpu, slots)
    step = stepper(on_gpu, cache, graphs=True)
    assert isinstance(step, GraphedStep)
    for size in (positions, 2 * positions, cache.shape.positions):
        assert {(rows, size) for rows in (1, 2, 4, 7)} <= set(step._graphs)
    for rows in range(1, slots + 1):
        begin(on_gpu, cache, slots)
        begin(on_gpu, plain, slots)
        for turn in range(30):
            size = (positions, 2 * positions, cache.shape.positions)[turn % 3]
            assert torch.equal(step(cache, rows, size), on_gpu.step(plain, rows, size))
        assert torch.equal(cache.token[:rows], plain.token[:rows])
        assert torch.allclose(cache.latents[:rows, :30], plain.latents[:rows, :30], atol=1e-4)


@needs_gpu
def test_what_a_step_returned_is_not_overwritten_by_the_next(on_gpu: Decoder) -> None:
    cache = make_cache(on_gpu, 2)
    step = stepper(on_gpu, cache, graphs=True)
    begin(on_gpu, cache, 2)
    first = step(cache, 2, POSITIONS["cuda"])
    kept = first.clone()
    for _ in range(5):
        step(cache, 2, POSITIONS["cuda"])
    assert torch.equal(first, kept)


@needs_gpu
def test_a_decoder_that_cannot_be_captured_runs_without_graphs(
    on_gpu: Decoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(self: GraphedStep, rows: int, positions: int) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(GraphedStep, "_capture", refused)
    cache, plain = make_cache(on_gpu, 2), make_cache(on_gpu, 2)
    with caplog.at_level(logging.WARNING):
        step = stepper(on_gpu, cache, graphs=True)
    assert "not permitted" in caplog.text
    for one in (cache, plain):
        begin(on_gpu, one, 2)
    assert torch.equal(step(cache, 2, POSITIONS["cuda"]), on_gpu.step(plain, 2, POSITIONS["cuda"]))
