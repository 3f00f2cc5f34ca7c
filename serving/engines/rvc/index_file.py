"""Vectors out of a faiss index file, which anyone may have uploaded.

faiss's own reader trusts the sizes that a file states and builds whatever kind of index it names. The two kinds that
RVC writes are simple, so their bytes are walked through here, every size against what is left of the file; faiss never
sees an upload. Layout: ``write_index`` in faiss/impl/index_write.cpp, little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidRequest, PayloadTooLarge

PARAM = "index"
WIDTHS = (256, 768)
"""Values per vector: content features of v1 and of v2 voices."""

MAX_BYTES = 1 << 30
"""Room for 340,000 vectors of v2 (two hours of speech); RVC itself reduces more than 200,000 to 10,000."""

IVF_FLAT, FLAT_L2, ARRAY_LISTS = b"IwFl", b"IxF2", b"ilar"
METRIC_L2 = 1
KINDS = {
    b"IxFI": "inner products",
    b"IwPQ": "product quantisation",
    b"IwSQ": "scalar quantisation",
    b"IwSq": "scalar quantisation",
    b"IHNf": "HNSW",
    b"IxPT": "a transformation before the search",
    b"IxMp": "ids of its own",
    b"IxM2": "ids of its own",
    b"IvFl": "the lists of an old faiss",
    b"IvFL": "the lists of an old faiss",
}


@dataclass(frozen=True, slots=True)
class IndexFile:
    """What an index holds: ``vectors`` float32 [count, 256 or 768] in the order they were added.

    ``lists`` int64 [count] and ``centroids`` float32 [number of lists, width] say how faiss had divided them.
    """

    vectors: NDArray[np.float32]
    lists: NDArray[np.int64]
    centroids: NDArray[np.float32]


def read_index(path: Path, max_bytes: int = MAX_BYTES) -> IndexFile:
    """Read an "IVF,Flat" or "Flat" index with L2 distances.

    Raises PayloadTooLarge or InvalidRequest, both with param "index", for everything else.
    """
    size = path.stat().st_size
    if size > max_bytes:
        raise PayloadTooLarge(f"the index has {size} bytes; at most {max_bytes} are taken", PARAM)
    if size < 8:
        raise _torn()
    content = _Content(np.memmap(path, np.uint8, "r"))
    index = _read_ivf(content) if content.kind() == IVF_FLAT else _read_flat(content)
    if content.left():
        raise InvalidRequest(f"the index has {content.left()} bytes too many; upload the file as RVC wrote it", PARAM)
    for start in range(0, len(index.vectors), 1 << 14):
        if not np.isfinite(index.vectors[start : start + (1 << 14)]).all():
            raise InvalidRequest("the index has values that are not finite; train it again", PARAM)
    return index


class _Content:
    """The bytes of a file and how far they are read; a size beyond its end is an InvalidRequest."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._data = data
        self._at = 0

    def left(self) -> int:
        return len(self._data) - self._at

    def kind(self) -> bytes:
        """The four letters that come next, which stay unread."""
        return bytes(self._data[self._at : self._at + 4])

    def take(self, count: int) -> NDArray[np.uint8]:
        if not 0 <= count <= self.left():
            raise _torn()
        self._at += count
        return self._data[self._at - count : self._at]

    def values(self, form: str) -> tuple[Any, ...]:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)).tobytes())

    def size(self) -> int:
        (value,) = self.values("Q")
        return int(value)

    def floats(self, rows: int, width: int) -> NDArray[np.float32]:
        return self.take(4 * rows * width).view("<f4").reshape(rows, width)


def _read_header(content: _Content, kind: bytes) -> tuple[int, int]:
    """(values per vector, vectors) of an index that must be of that ``kind``."""
    found = content.kind()
    if found != kind:
        raise _unknown(found)
    _, width, count, _, _, trained, metric = content.values("4siqqq?i")
    if width not in WIDTHS:
        raise InvalidRequest(f"the index has vectors of {width} values; RVC's have 256 (v1) or 768 (v2)", PARAM)
    if metric != METRIC_L2 or not trained or count < 0:
        raise InvalidRequest("the index is not a trained one with L2 distances, as RVC makes them", PARAM)
    return width, count


def _read_flat(content: _Content) -> IndexFile:
    vectors = _read_vectors(content)
    if not len(vectors):
        raise _empty()
    return IndexFile(vectors, np.zeros(len(vectors), np.int64), vectors[:1])


def _read_vectors(content: _Content) -> NDArray[np.float32]:
    width, count = _read_header(content, FLAT_L2)
    if content.size() != count * width:
        raise _torn()
    return content.floats(count, width)


def _read_ivf(content: _Content) -> IndexFile:
    width, count = _read_header(content, IVF_FLAT)
    if not count:
        raise _empty()
    lists, _ = content.size(), content.size()  # the other is nprobe
    centroids = _read_vectors(content)
    if centroids.shape != (lists, width):
        raise _torn()
    _skip_direct_map(content)
    sizes = _read_list_sizes(content, lists, 4 * width)
    if sum(sizes.values()) != count:
        raise _torn()
    return _ordered(content, sizes, count, width, centroids)


def _ordered(
    content: _Content, sizes: dict[int, int], count: int, width: int, centroids: NDArray[np.float32]
) -> IndexFile:
    """The vectors of all lists, each in the row of its id: ids are 0, 1, 2... as vectors are added."""
    if count * 4 * width > content.left():
        raise _torn()
    vectors = np.empty((count, width), np.float32)
    lists = np.full(count, -1, np.int64)
    for number, size in sizes.items():
        part, ids = content.floats(size, width), content.take(8 * size).view("<i8")
        if size and not 0 <= ids.min() <= ids.max() < count:
            raise _unknown(b"IxMp")
        vectors[ids], lists[ids] = part, number
    if (lists < 0).any():
        raise _unknown(b"IxMp")
    return IndexFile(vectors, lists, centroids)


def _skip_direct_map(content: _Content) -> None:
    """Where each id lies, which the lists tell as well: nothing, an array of 8 bytes, or pairs of them."""
    (kind,) = content.values("b")
    content.take(8 * content.size())
    if kind == 2:
        content.take(16 * content.size())
    elif kind not in {0, 1}:
        raise _torn()


def _read_list_sizes(content: _Content, lists: int, code_size: int) -> dict[int, int]:
    """Vectors by list, in the order in which they follow; all sizes, or pairs of list and size ("sparse")."""
    if content.kind() != ARRAY_LISTS:
        raise _unknown(content.kind())
    _, stated, bytes_each, form, values = content.values("4sQQ4sQ")
    if (stated, bytes_each) != (lists, code_size):
        raise _torn()
    numbers = content.take(8 * values).view("<u8").tolist()
    if form == b"full" and values == lists:
        return dict(enumerate(numbers))
    if form == b"sprs" and values % 2 == 0:
        sizes = dict(zip(numbers[::2], numbers[1::2], strict=True))
        if len(sizes) == values // 2 and max(sizes, default=0) < lists:
            return sizes
    raise _torn()


def _torn() -> InvalidRequest:
    return InvalidRequest("the index is torn, or no faiss index; upload the added_*.index file again", PARAM)


def _empty() -> InvalidRequest:
    return InvalidRequest(
        "the index has no vectors: a trained_*.index is the empty first stage; upload the added_*.index beside it",
        PARAM,
    )


def _unknown(kind: bytes) -> InvalidRequest:
    if not kind.isalnum():
        return _torn()
    what = f"{kind.decode()}, {KINDS[kind]}" if kind in KINDS else kind.decode()
    return InvalidRequest(
        f"the index is of another kind ({what}) than RVC's IVF,Flat with L2 distances; upload the added_*.index that "
        "was trained with the voice",
        PARAM,
    )
