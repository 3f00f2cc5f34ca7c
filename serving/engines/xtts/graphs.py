"""Decode steps as CUDA graphs: one launch where there would be about a thousand."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import torch

from serving.engines.xtts.cache import SlotCache
from serving.engines.xtts.decoder import Decoder
from serving.engines.xtts.decoding import POSITIONS, Step

logger = logging.getLogger(__name__)

ROWS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""A step runs the smallest of these that holds the active rows; the rows beyond them compute what nobody reads."""

WARM_UPS = 2


def stepper(decoder: Decoder, cache: SlotCache, *, graphs: bool) -> Step:
    """``decoder.step``, or on a GPU a ``GraphedStep`` of it, if ``graphs``."""
    return GraphedStep(decoder, cache) if graphs and decoder.device.type == "cuda" else decoder.step


class GraphedStep:
    """Replays graphs, captured at once for all numbers of rows and positions; one that fails runs without a graph.

    A graph reads and writes the tensors it was captured with, so it serves one cache only.
    """

    def __init__(self, decoder: Decoder, cache: SlotCache) -> None:
        self._decoder = decoder
        self._cache = cache
        self._sizes = [*(rows for rows in ROWS if rows < cache.slots), cache.slots]
        self._pool: Any = torch.cuda.graph_pool_handle()
        self._stream: Any = torch.cuda.Stream(decoder.device)  # one for all: cuBLAS keeps a workspace for each
        self._graphs: dict[tuple[int, int], tuple[Any, torch.Tensor]] = {}
        with torch.inference_mode(), torch.cuda.device(decoder.device):
            self._capture_all()

    def __call__(self, cache: SlotCache, rows: int, positions: int) -> torch.Tensor:
        """As ``Decoder.step``."""
        assert cache is self._cache
        captured = self._graphs.get((next(size for size in self._sizes if size >= rows), positions))
        if captured is None:
            return self._decoder.step(cache, rows, positions)
        graph, tokens = captured
        graph.replay()
        return tokens[:rows].clone()

    def _capture_all(self) -> None:
        last = self._cache.shape.positions
        positions = [*range(POSITIONS["cuda"], last, POSITIONS["cuda"]), last]
        failed: list[tuple[int, int, RuntimeError]] = []
        for size in itertools.product(self._sizes, positions):
            try:
                self._graphs[size] = self._capture(*size)
            except RuntimeError as error:
                failed.append((*size, error))
        if failed:
            logger.warning(
                "%d of %d kinds of decode steps cannot be CUDA graphs and run without; the first, %d rows over %d "
                "positions: %s",
                len(failed),
                len(self._sizes) * len(positions),
                *failed[0],
            )

    def _capture(self, rows: int, positions: int) -> tuple[Any, torch.Tensor]:
        """The graph and where it puts its tokens; the cache is left as it was.

        Raises RuntimeError when the graph does not choose the tokens that the decoder chooses.
        """
        before = self._cache.counters()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                self._cache.revert(before)
                expected = self._decoder.step(self._cache, rows, positions)
        torch.cuda.current_stream().wait_stream(self._stream)
        self._cache.revert(before)
        graph = torch.cuda.CUDAGraph()
        usual = torch.cuda.stream(torch.cuda.current_stream())  # a capture that fails does not go back to it
        with usual, torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            tokens = self._decoder.step(self._cache, rows, positions)
        graph.replay()
        self._cache.revert(before)
        if not torch.equal(tokens, expected):
            raise RuntimeError(f"a graph of {rows} rows and {positions} positions chooses other tokens")
        return graph, tokens
