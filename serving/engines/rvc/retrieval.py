"""Retrieval: features drawn towards those of the voice's own recordings.

The k nearest of all vectors are found with one matrix product per block, on the device. RVC's index files say
nprobe = 1: of perhaps 2,000 lists faiss then looks into one, and misses 30 to 60 percent of the nearest vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from serving.engines.linear import linear
from serving.engines.rvc.index_file import PARAM, WIDTHS, read_index
from serving.engines.rvc.shared import read_tensors
from serving.errors import InvalidRequest, ModelFilesError

NEIGHBOURS = 8
CANDIDATES = 2 * NEIGHBOURS
"""Found by the matrix product, whose distances are differences of large numbers, and then measured exactly."""

QUERIES, VECTORS = 1024, 8192
"""Rows of a block: 32 MB of distances."""

CHUNK = {"cpu": 2048, "cuda": 8192}
"""Vectors of a block that are made float32 at a time, so that on a CPU they are still in its cache for the product."""

EXACT = {"cpu": 64, "cuda": 1024}
"""Queries whose candidates are gathered and measured exactly at a time: 3 MB on a CPU, for the cache."""

CLOSEST = 1e-9
"""The least squared distance that counts. A query that is in the index has 0, of which RVC's weights make NaN."""

KEY = "vectors"
HALF_LIMIT = 65_504.0


@dataclass(frozen=True, slots=True)
class Lists:
    """Restricts a search to one list per query, as faiss does at nprobe = 1; for comparisons with it.

    ``of_vectors`` int64 [vectors] and ``of_queries`` int64 [queries].
    """

    of_vectors: torch.Tensor
    of_queries: torch.Tensor


class Retrieval:
    """A voice's vectors [count, 256 or 768], float32 or float16, on the device that searches them."""

    def __init__(self, vectors: torch.Tensor) -> None:
        assert vectors.dim() == 2
        assert len(vectors)
        self.vectors = vectors
        self._centre = sum(block.float().sum(0) for block in vectors.split(VECTORS)) / len(vectors)
        """Distances are measured from here, so that numbers are small where vectors lie far from the origin."""
        self._half_norms = torch.cat(
            [(block.float() - self._centre).square().sum(1) / 2 for block in vectors.split(VECTORS)]
        )

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Retrieval:
        """Read what ``convert`` wrote; on a CPU the vectors stay in the file's pages. Raises ModelFilesError."""
        vectors = read_tensors(path).get(KEY)
        if vectors is None or vectors.dim() != 2 or not len(vectors) or vectors.shape[1] not in WIDTHS:
            raise ModelFilesError(f"{path} holds no vectors of a voice; upload the voice's index again")
        if vectors.dtype not in {torch.float32, torch.float16}:
            raise ModelFilesError(f"{path} holds {vectors.dtype} instead of float32 or float16; upload the index again")
        return cls(vectors.to(device))

    @property
    def nbytes(self) -> int:
        return int(self.vectors.nbytes + self._half_norms.nbytes)

    def blend(self, features: torch.Tensor, index_rate: float) -> torch.Tensor:
        """``index_rate`` of the mean of the nearest vectors and the rest of ``features`` float32 [..., width].

        A neighbour's weight is 1 / distance^4 (RVC: the square of 1 / faiss's score, which is the squared distance).
        At rate 0 the result is ``features`` itself.
        """
        assert 0 <= index_rate <= 1
        assert features.shape[-1] == self.vectors.shape[1]
        if not index_rate:
            return features
        queries = features.reshape(-1, features.shape[-1])
        parts = [index_rate * self._mean(rows) + (1 - index_rate) * rows for rows in queries.split(QUERIES)]
        return torch.cat(parts).view_as(features)

    def nearest(
        self, queries: torch.Tensor, count: int = NEIGHBOURS, lists: Lists | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(squared distances ascending, indices), each [rows, count], of ``queries`` float32 [rows, width].

        Fewer columns where there are fewer vectors; of ``lists``, infinite distances where a list has fewer.
        """
        found = [self._nearest(rows, start, count, lists) for start, rows in _blocks(queries, QUERIES)]
        return torch.cat([distance for distance, _ in found]), torch.cat([index for _, index in found])

    def _mean(self, queries: torch.Tensor) -> torch.Tensor:
        distance, index = self._nearest(queries, 0, NEIGHBOURS, None)
        distance = distance.clamp(min=CLOSEST)
        weights = (distance[:, :1] / distance).square()
        weights = weights / weights.sum(1, keepdim=True)
        return torch.einsum("qn,qnw->qw", weights, self.vectors[index].float())

    def _nearest(
        self, queries: torch.Tensor, first: int, count: int, lists: Lists | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``nearest`` of a block of queries, whose first one is number ``first``."""
        closeness = queries.new_empty(len(queries), 0)
        index = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
        for start, block in _blocks(self.vectors, VECTORS):
            score = self._scores(queries, block, start)
            if lists is not None:
                own = (
                    lists.of_vectors[start : start + len(block)] == lists.of_queries[first : first + len(queries), None]
                )
                score.masked_fill_(~own, -torch.inf)
            best = score.topk(min(CANDIDATES, len(block)))
            closeness, index = torch.cat((closeness, best.values), 1), torch.cat((index, best.indices + start), 1)
            best = closeness.topk(min(CANDIDATES, closeness.shape[1]))
            closeness, index = best.values, index.gather(1, best.indices)
        size = EXACT[queries.device.type]
        exact = torch.cat([self._distances(*part) for part in zip(queries.split(size), index.split(size), strict=True)])
        exact = exact.masked_fill(closeness == -torch.inf, torch.inf)
        distance, order = exact.topk(min(count, exact.shape[1]), largest=False)
        return distance, index.gather(1, order)

    def _distances(self, queries: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Squared, [rows, candidates], of ``queries`` [rows, width] from the vectors ``index`` [rows, candidates]."""
        return (self.vectors[index].float() - queries[:, None]).square_().sum(2)

    def _scores(self, queries: torch.Tensor, block: torch.Tensor, start: int) -> torch.Tensor:
        """[rows, vectors]: of the vectors ``block``, which begin at ``start``, the nearer one has more.

        With q and w measured from the centre it is qw - |w|^2 / 2, up to a number of the query's.
        """
        size = CHUNK[block.device.type]
        queries = queries - self._centre
        scores = [
            linear(queries, part.float(), -self._half_norms[start + first : start + first + len(part)])
            for first, part in _blocks(block, size)
        ]
        return scores[0] if len(scores) == 1 else torch.cat(scores, 1)


def convert(source: Path, target: Path, *, half: bool = False, max_bytes: int | None = None) -> tuple[int, int]:
    """Write the vectors of the faiss file ``source`` to safetensors ``target``; (how many, values of each).

    ``half`` stores them as float16, half the size. Raises PayloadTooLarge or InvalidRequest with param "index".
    """
    index = read_index(source) if max_bytes is None else read_index(source, max_bytes)
    vectors = torch.from_numpy(np.require(index.vectors, requirements="W"))
    if half and vectors.abs().max() <= HALF_LIMIT:
        vectors = vectors.half()
    save_file({KEY: vectors}, target)
    return len(vectors), vectors.shape[1]


def check_width(width: int, voice_width: int) -> None:
    """Raise InvalidRequest with param "index" unless an index is as wide as the features its voice takes."""
    if width != voice_width:
        raise InvalidRequest(
            f"the index has vectors of {width} values, those of a {_version(width)} voice, but the voice is "
            f"{_version(voice_width)}; upload the index that was trained with it",
            PARAM,
        )


def _blocks(rows: torch.Tensor, size: int) -> list[tuple[int, torch.Tensor]]:
    return [(number * size, block) for number, block in enumerate(rows.split(size))]


def _version(width: int) -> str:
    return "v1" if width == WIDTHS[0] else "v2"
