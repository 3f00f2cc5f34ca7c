import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from serving.engines.rvc.pitch.viterbi import best_path


def plain_path(salience: NDArray[np.float64]) -> NDArray[np.int64]:
    """The path of torchcrepe's model through [frames, 360], from the full transition matrix."""
    bins = np.arange(360)
    transition = np.maximum(12 - abs(bins[:, None] - bins), 0)
    with np.errstate(divide="ignore"):
        step = np.log(transition / transition.sum(1, keepdims=True))
    emitted = salience - np.log(np.exp(salience).sum(1, keepdims=True))
    score, sources = emitted[0], []
    for frame in emitted[1:]:
        candidates = score[:, None] + step
        sources.append(candidates.argmax(0))
        score = candidates.max(0) + frame
    path = [int(score.argmax())]
    for source in reversed(sources):
        path.append(int(source[path[-1]]))
    return np.array(path[::-1])


def salience(items: int, frames: int) -> torch.Tensor:
    return torch.rand(items, frames, 360, generator=torch.Generator().manual_seed(4)) * 3


def inside(*lengths: int) -> torch.Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def test_the_path_is_the_likeliest() -> None:
    values = salience(2, 60)
    found = best_path(values, inside(60, 60))
    for item in range(2):
        assert np.array_equal(found[item].numpy(), plain_path(values[item].double().numpy()))


def test_an_item_of_a_batch_has_the_path_it_has_alone() -> None:
    values = salience(3, 40)
    found = best_path(values, inside(40, 25, 1))
    for item, length in enumerate((40, 25, 1)):
        alone = best_path(values[item : item + 1, :length], inside(length))
        assert torch.equal(found[item, :length], alone[0])


def test_what_follows_an_item_does_not_move_its_path() -> None:
    """At the edge of the scale the likeliest bin is not always its own likeliest predecessor."""
    values = salience(40, 12) * 0.1
    values[..., :4] += 5
    found = best_path(values, inside(12, *[6] * 39))
    for item in range(1, 40):
        assert torch.equal(found[item, :6], best_path(values[item : item + 1, :6], inside(6))[0])


def test_a_frame_an_octave_off_is_passed_over() -> None:
    values = torch.zeros(1, 21, 360)
    values[:, :, 100] = 1.0
    values[:, 10, 160] = 1.2
    assert values.argmax(-1)[0, 10] == 160
    assert best_path(values, inside(21)).unique().tolist() == [100]


def test_bins_that_do_not_count_are_never_taken() -> None:
    values = salience(1, 30)
    values[..., :80] = -torch.inf
    assert best_path(values, inside(30)).min() >= 80


@pytest.mark.slow
def test_the_path_is_that_of_torchcrepe() -> None:
    """Slow for the compiler that librosa's implementation starts."""
    import torchcrepe

    values = salience(2, 100)
    theirs, _ = torchcrepe.decode.viterbi(values.mT.clone())
    assert torch.equal(best_path(values, inside(100, 100)), theirs)
