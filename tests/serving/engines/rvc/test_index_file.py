import random
import struct
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from serving.engines.rvc.index_file import read_index
from serving.errors import InvalidRequest, PayloadTooLarge
from tests.factories.faiss_index import build_index, feature_vectors, write_index

NLIST, QUANTIZER, QUANTIZER_SIZE = 37, 53, 90
"""Where an IVF,Flat file has them."""


def written(tmp_path: Path, index: Any) -> Path:
    return write_index(tmp_path / "added_voice_v2.index", index)


def content_of(tmp_path: Path, kind: str = "IVF4,Flat", count: int = 60) -> bytes:
    return written(tmp_path, build_index(feature_vectors(count), kind)).read_bytes()


def refused(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "upload.index"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest) as error:
        read_index(path)
    assert error.value.param == "index"
    return str(error.value)


@pytest.mark.parametrize("width", [256, 768])
@pytest.mark.parametrize("kind", ["IVF16,Flat", "IVF1,Flat", "Flat"])
def test_the_vectors_come_back_in_the_order_they_were_added(tmp_path: Path, kind: str, width: int) -> None:
    vectors = feature_vectors(300, width)
    index = build_index(vectors, kind)
    found = read_index(written(tmp_path, index))
    assert np.array_equal(found.vectors, vectors)
    assert np.array_equal(found.vectors, index.reconstruct_n(0, 300))


def test_lists_and_centroids_are_those_of_faiss(tmp_path: Path) -> None:
    index = build_index(feature_vectors(300))
    found = read_index(written(tmp_path, index))
    assert np.array_equal(found.centroids, index.quantizer.reconstruct_n(0, 16))
    for number in range(16):
        ids = faiss.rev_swig_ptr(index.invlists.get_ids(number), index.invlists.list_size(number))
        assert np.array_equal(np.flatnonzero(found.lists == number), np.sort(ids))


@pytest.mark.parametrize("kind", [1, 2], ids=["array", "hash table"])
def test_a_direct_map_is_passed_over(tmp_path: Path, kind: int) -> None:
    index = build_index(feature_vectors(100))
    index.set_direct_map_type(kind)
    assert np.array_equal(read_index(written(tmp_path, index)).vectors, feature_vectors(100))


def test_lists_that_are_mostly_empty_are_written_sparse_and_read(tmp_path: Path) -> None:
    index = build_index(feature_vectors(100), "IVF64,Flat", added=False)
    index.add(feature_vectors(100)[:3])
    path = written(tmp_path, index)
    assert b"sprs" in path.read_bytes()
    assert np.array_equal(read_index(path).vectors, feature_vectors(100)[:3])


@pytest.mark.parametrize("kind", ["IVF4,Flat", "Flat"])
def test_the_empty_trained_stage_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, build_index(feature_vectors(60), kind, added=False))
    assert "trained_*.index is the empty first stage; upload the added_*.index" in refused(tmp_path, path.read_bytes())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("IVF1,PQ1x4", "IwPQ, product quantisation"),
        ("IVF4,SQ8", "scalar quantisation"),
        ("HNSW8", "IHNf, HNSW"),
        ("PCA64,Flat", "transformation"),
    ],
)
def test_other_kinds_of_index_are_refused_by_name(tmp_path: Path, kind: str, words: str) -> None:
    message = refused(tmp_path, content_of(tmp_path, kind, 300))
    assert words in message
    assert "IVF,Flat" in message


def test_ids_of_its_own_are_refused(tmp_path: Path) -> None:
    index = faiss.IndexIDMap(faiss.IndexFlatL2(256))
    index.add_with_ids(feature_vectors(5), np.arange(5))
    assert "ids of its own" in refused(tmp_path, written(tmp_path, index).read_bytes())
    for ids in ([5, 6, 7], [0, 0, 1], [-1, 0, 1]):
        lists = build_index(feature_vectors(60), "IVF4,Flat", added=False)
        lists.add_with_ids(feature_vectors(3), np.array(ids))
        assert "ids of its own" in refused(tmp_path, written(tmp_path, lists).read_bytes())


def test_inner_products_are_refused(tmp_path: Path) -> None:
    flat = faiss.IndexFlatIP(256)
    flat.add(feature_vectors(5))
    assert "inner products" in refused(tmp_path, written(tmp_path, flat).read_bytes())
    ivf = faiss.index_factory(256, "IVF1,Flat", faiss.METRIC_INNER_PRODUCT)
    ivf.train(feature_vectors(50))
    ivf.add(feature_vectors(50))
    assert "L2" in refused(tmp_path, written(tmp_path, ivf).read_bytes())


def test_another_width_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, build_index(feature_vectors(60, 512), "Flat"))
    assert "vectors of 512 values" in refused(tmp_path, path.read_bytes())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    index = build_index(feature_vectors(60), "Flat")
    content = bytearray(written(tmp_path, index).read_bytes())
    content[-4:] = struct.pack("<f", value)
    assert "not finite" in refused(tmp_path, bytes(content))


def test_an_oversized_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.index"
    with path.open("wb") as file:
        file.truncate((1 << 30) + 1)  # sparse
    with pytest.raises(PayloadTooLarge) as error:
        read_index(path)
    assert error.value.param == "index"


@pytest.mark.parametrize("content", [b"", b"IwFl", b"PK\x03\x04" + bytes(100), b"hello, this is no index", bytes(500)])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path, content)


@pytest.mark.parametrize("kind", ["IVF4,Flat", "Flat"])
def test_a_torn_file_is_refused_wherever_it_ends(tmp_path: Path, kind: str) -> None:
    content = content_of(tmp_path, kind)
    for end in [*range(0, 200, 7), *range(200, len(content), 997), len(content) - 1]:
        refused(tmp_path, content[:end])
    assert "too many" in refused(tmp_path, content + b"x")


@pytest.mark.parametrize("value", [1 << 63, (1 << 64) - 1, 1 << 40, 1 << 20, 5, 0])
@pytest.mark.parametrize("offset", [NLIST, QUANTIZER + 8, QUANTIZER_SIZE, 8])
def test_sizes_that_lie_are_refused_without_the_memory_they_claim(tmp_path: Path, offset: int, value: int) -> None:
    content = bytearray(content_of(tmp_path))
    assert struct.unpack_from("<Q", content, NLIST) == (4,)
    assert content[QUANTIZER : QUANTIZER + 4] == b"IxF2"
    assert struct.unpack_from("<Q", content, QUANTIZER_SIZE) == (4 * 256,)
    struct.pack_into("<Q", content, offset, value)
    refused(tmp_path, bytes(content))


def test_any_damage_is_either_refused_in_a_sentence_or_harmless(tmp_path: Path) -> None:
    content, chance, path = content_of(tmp_path), random.Random(1), tmp_path / "upload.index"
    lists = content.index(b"ilar")
    places = [*range(QUANTIZER_SIZE + 8), *range(lists - 9, lists + 80)]
    outcomes = {"read": 0, "refused": 0}
    for _ in range(600):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.choice(places)] = chance.choice([0, 1, 2, 127, 128, 255, chance.randrange(256)])
        path.write_bytes(damaged)
        try:
            found = read_index(path)
        except InvalidRequest:
            outcomes["refused"] += 1
        else:
            assert found.vectors.shape == (60, 256)
            outcomes["read"] += 1
    assert min(outcomes.values()) > 20, outcomes
