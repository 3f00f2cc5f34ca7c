from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from serving.engines.rvc import retrieval
from serving.engines.rvc.index_file import read_index
from serving.engines.rvc.retrieval import Lists, Retrieval, check_width, convert
from serving.errors import InvalidRequest, ModelFilesError
from tests.factories.faiss_index import Vectors, build_index, feature_vectors, write_index

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return feature_vectors(6_000, spread=2.5)


@pytest.fixture(scope="module")
def queries() -> torch.Tensor:
    return torch.from_numpy(feature_vectors(200, seed=1, spread=2.5))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks far smaller than the data, so that results are put together from many."""
    monkeypatch.setattr(retrieval, "QUERIES", 64)
    monkeypatch.setattr(retrieval, "VECTORS", 500)
    monkeypatch.setitem(retrieval.EXACT, "cpu", 24)


def exact(vectors: Vectors, queries: torch.Tensor) -> tuple[Vectors, Vectors]:
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(vectors)
    distance, found = index.search(queries.numpy(), 8)
    return distance, found


def plain_blend(distance: Vectors, near: Vectors, features: torch.Tensor, rate: float) -> torch.Tensor:
    """RVC's ``pipeline.py``: ``near`` [rows, 8, width]."""
    weights = np.square(1 / distance)
    weights /= weights.sum(axis=1, keepdims=True)
    return torch.from_numpy((near * weights[..., None]).sum(axis=1)) * rate + (1 - rate) * features


@pytest.mark.usefixtures("small_blocks")
def test_the_nearest_are_those_of_an_exhaustive_search(vectors: Vectors, queries: torch.Tensor) -> None:
    distance, index = Retrieval(torch.from_numpy(vectors)).nearest(queries)
    expected, found = exact(vectors, queries)
    assert np.array_equal(index.numpy(), found)
    np.testing.assert_allclose(distance.numpy(), expected, rtol=1e-5)


@pytest.mark.usefixtures("small_blocks")
def test_restricted_to_one_list_the_nearest_are_those_of_faiss_at_nprobe_1(
    tmp_path: Path, vectors: Vectors, queries: torch.Tensor
) -> None:
    index = build_index(vectors, "IVF150,Flat")
    file = read_index(write_index(tmp_path / "a.index", index))
    _, of_queries = index.quantizer.search(queries.numpy(), 1)
    lists = Lists(torch.from_numpy(file.lists), torch.from_numpy(of_queries[:, 0]))
    distance, found = Retrieval(torch.from_numpy(file.vectors)).nearest(queries, lists=lists)
    expected, theirs = index.search(queries.numpy(), 8)
    there = theirs >= 0  # -1 where the list has fewer than 8
    assert np.array_equal(found.numpy()[there], theirs[there])
    np.testing.assert_allclose(distance.numpy()[there], expected[there], rtol=1e-5)
    assert np.isinf(distance.numpy()[~there]).all()


def test_one_list_misses_many_of_the_nearest_which_is_why_all_are_searched(
    vectors: Vectors, queries: torch.Tensor
) -> None:
    _, nearest = exact(vectors, queries)
    _, one_list = build_index(vectors, "IVF150,Flat").search(queries.numpy(), 8)
    _, ours = Retrieval(torch.from_numpy(vectors)).nearest(queries)

    def recall(found: Vectors) -> float:
        return float(np.mean([len({*a} & {*b}) / 8 for a, b in zip(nearest, found, strict=True)]))

    assert recall(ours.numpy()) == 1
    assert recall(one_list) < 0.8


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_the_blend_is_that_of_rvc(vectors: Vectors, queries: torch.Tensor, rate: float) -> None:
    distance, found = exact(vectors, queries)
    expected = plain_blend(distance, vectors[found], queries, rate)
    blended = Retrieval(torch.from_numpy(vectors)).blend(queries.view(4, 50, 256), rate)
    assert blended.shape == (4, 50, 256)
    assert torch.allclose(blended.view(200, 256), expected, atol=1e-5)


def test_rate_zero_leaves_the_features_as_they_are(vectors: Vectors, queries: torch.Tensor) -> None:
    assert Retrieval(torch.from_numpy(vectors)).blend(queries, 0) is queries


def test_a_query_that_is_in_the_index_gives_that_vector_and_no_nan(vectors: Vectors) -> None:
    queries = torch.from_numpy(vectors[:20])
    with np.errstate(divide="ignore", invalid="ignore"):
        theirs = plain_blend(*_with_vectors(vectors, queries), queries, 1.0)
    assert theirs.isnan().any()
    blended = Retrieval(torch.from_numpy(vectors)).blend(queries, 1.0)
    assert torch.allclose(blended, queries, atol=1e-5)
    twice = Retrieval(torch.from_numpy(np.concatenate([vectors[:1]] * 9))).blend(queries[:1], 1.0)
    assert torch.allclose(twice, queries[:1], atol=1e-5)


def _with_vectors(vectors: Vectors, queries: torch.Tensor) -> tuple[Vectors, Vectors]:
    index = build_index(vectors, "IVF1,Flat")
    distance, found = index.search(queries.numpy(), 8)
    return distance, vectors[found]


def test_distances_of_vectors_far_from_the_origin_are_exact() -> None:
    """|q|^2 - 2qv + |v|^2 loses them: here it is off by more than the distances differ."""
    far = torch.from_numpy(feature_vectors(200)) * 0.01 + 10
    query = far[:5] + 0.001
    distance, index = Retrieval(far).nearest(query)
    assert index[:, 0].tolist() == list(range(5))
    assert torch.allclose(distance[:, 0], torch.full((5,), 256e-6), rtol=0.01)
    naive = far[:5].square().sum(1) - 2 * (far[:5] * query).sum(1) + query.square().sum(1)
    assert (naive - 256e-6).abs().max() > 1e-3


@pytest.mark.parametrize("count", [1, 3, 8])
def test_fewer_vectors_than_neighbours_are_enough(count: int, queries: torch.Tensor) -> None:
    few = Retrieval(torch.from_numpy(feature_vectors(count)))
    assert few.nearest(queries)[1].shape == (200, count)
    assert few.blend(queries, 0.5).isfinite().all()


def test_half_precision_finds_the_same_at_half_the_size(
    tmp_path: Path, vectors: Vectors, queries: torch.Tensor
) -> None:
    source = write_index(tmp_path / "a.index", build_index(vectors))
    convert(source, tmp_path / "full.safetensors")
    convert(source, tmp_path / "half.safetensors", half=True)
    full, half = (Retrieval.load(tmp_path / f"{name}.safetensors", CPU) for name in ("full", "half"))
    assert (half.vectors.dtype, half.vectors.nbytes * 2) == (torch.float16, full.vectors.nbytes)
    assert (half.nearest(queries)[1] == full.nearest(queries)[1]).float().mean() > 0.98
    difference = (half.blend(queries, 1) - full.blend(queries, 1)).abs().mean()
    assert difference < 2e-3 * full.blend(queries, 1).abs().mean()


def test_vectors_too_large_for_half_precision_stay_whole(tmp_path: Path) -> None:
    large = feature_vectors(40) * 1e5
    convert(write_index(tmp_path / "a.index", build_index(large, "Flat")), tmp_path / "v.safetensors", half=True)
    assert torch.equal(Retrieval.load(tmp_path / "v.safetensors", CPU).vectors, torch.from_numpy(large))


@pytest.mark.parametrize("width", [256, 768])
def test_an_upload_is_converted_once_and_searched_from_the_file(tmp_path: Path, width: int) -> None:
    vectors = feature_vectors(200, width)
    path = tmp_path / "vectors.safetensors"
    assert convert(write_index(tmp_path / "a.index", build_index(vectors)), path) == (200, width)
    loaded = Retrieval.load(path, CPU)
    assert torch.equal(loaded.vectors, torch.from_numpy(vectors))
    assert loaded.nbytes == 200 * width * 4 + 200 * 4


def test_a_refused_upload_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.index").write_bytes(b"no index")
    with pytest.raises(InvalidRequest):
        convert(tmp_path / "a.index", tmp_path / "v.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.index"]


@pytest.mark.parametrize(
    "tensors", [{}, {"vectors": torch.zeros(256)}, {"vectors": torch.zeros(3, 5)}, {"vectors": torch.zeros(0, 256)}]
)
def test_another_safetensors_file_is_refused(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, tmp_path / "v.safetensors")
    with pytest.raises(ModelFilesError, match=r"v\.safetensors holds no vectors"):
        Retrieval.load(tmp_path / "v.safetensors", CPU)


def test_an_index_of_the_other_version_is_refused() -> None:
    check_width(768, 768)
    with pytest.raises(InvalidRequest, match="256 values, those of a v1 voice, but the voice is v2") as error:
        check_width(256, 768)
    assert error.value.param == "index"


@pytest.mark.usefixtures("small_blocks")
def test_memory_is_bounded_by_blocks_not_by_vectors_times_queries(
    vectors: Vectors, queries: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    scores = Retrieval._scores

    def measured(retrieval: Retrieval, rows: torch.Tensor, block: torch.Tensor, start: int) -> torch.Tensor:
        result = scores(retrieval, rows, block, start)
        sizes.append(result.numel())
        return result

    monkeypatch.setattr(Retrieval, "_scores", measured)
    Retrieval(torch.from_numpy(vectors)).blend(queries, 0.5)
    assert max(sizes) == 64 * 500
    assert len(sizes) == 4 * 12
