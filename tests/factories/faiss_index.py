"""faiss index files as RVC makes them: "IVF,Flat", L2, nprobe 1, built by faiss itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def feature_vectors(count: int, width: int = 256, *, seed: int = 0, spread: float = 0.6) -> Vectors:
    """[count, width]: points about one centre per 50, as frames lie about the sounds of speech."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((max(1, count // 50), width))
    points = centres[chance.integers(len(centres), size=count)] + spread * chance.standard_normal((count, width))
    return np.asarray(points, np.float32)


def build_index(vectors: Vectors, kind: str = "IVF16,Flat", *, added: bool = True) -> Any:
    """A faiss index of ``vectors``; a "trained" one without them where they are not ``added``."""
    faiss.omp_set_num_threads(1)
    index = faiss.index_factory(vectors.shape[1], kind)
    if hasattr(index, "cp"):
        index.cp.min_points_per_centroid = 1  # else faiss complains about small ones
    index.train(vectors)
    if hasattr(index, "nprobe"):
        index.nprobe = 1
    if added:
        index.add(vectors)
    return index


def write_index(path: Path, index: Any) -> Path:
    faiss.write_index(index, str(path))
    return path
