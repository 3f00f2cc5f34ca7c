import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from serving.engines.xtts.frames import CONTEXT, FrameGrid, Interpolation, Window, plan

RELEASED = SimpleNamespace(
    input_sample_rate=22050, output_sample_rate=24000, output_hop_length=256, gpt_code_stride_len=1024
)
SPEEDS = (0.5, 0.8, 1.0, 1.3, 2.0)


def by_torch(latents: torch.Tensor, speed: float) -> torch.Tensor:
    """Frames [n, channels] of ``latents`` [n, channels], as coqui's inference and HifiDecoder.forward make them."""
    x = latents.T[None]
    if speed != 1:
        x = functional.interpolate(x, scale_factor=1 / max(speed, 0.05), mode="linear")
    for scale in (1024 / 256, 24000 / 22050):
        x = functional.interpolate(x, scale_factor=[scale], mode="linear")
    return x[0].T


def by_taps(grid: FrameGrid, latents: torch.Tensor, first: int, last: int) -> NDArray[np.float64]:
    index, weight = grid.taps(first, last, len(latents))
    assert (str(index.dtype), str(weight.dtype)) == ("int64", "float32")
    assert index.shape == weight.shape == (last - first, 2 ** len(grid.stages))
    total: NDArray[np.float64] = (latents.double().numpy()[index] * weight[..., None]).sum(1)
    return total


def windows(lengths: list[int], **options: int) -> list[Window]:
    """All windows of an utterance of which ever more frames become final; the last of ``lengths`` is all of it."""
    done: list[Window] = []
    for at, available in enumerate(lengths):
        finished = at == len(lengths) - 1
        while window := plan(
            done[-1].last if done else 0, available, finished=finished, **{"max_frames": 96} | options
        ):
            done.append(window)
    return done


@pytest.mark.parametrize("speed", SPEEDS)
def test_frames_are_torch_s_interpolations_of_the_latents(speed: float) -> None:
    grid = FrameGrid.of(RELEASED, speed)
    for count in (*range(6, 40), 199, 602):
        latents = torch.randn(count, 3, generator=torch.Generator().manual_seed(count))
        expected = by_torch(latents, speed)
        assert grid.total(count) == len(expected)
        assert np.abs(by_taps(grid, latents, 0, len(expected)) - expected.numpy()).max() < 1e-4
        middle = len(expected) // 2
        assert np.abs(by_taps(grid, latents, middle, middle + 3) - expected[middle : middle + 3].numpy()).max() < 1e-4


def test_a_model_whose_rates_are_equal_has_one_interpolation_less() -> None:
    args = SimpleNamespace(**{**vars(RELEASED), "output_sample_rate": 22050})
    grid = FrameGrid.of(args)
    assert grid.total(10) == 40
    latents = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    expected = functional.interpolate(latents.T[None], scale_factor=[4.0], mode="linear")[0].T
    assert np.abs(by_taps(grid, latents, 0, 40) - expected.numpy()).max() < 1e-6


@pytest.mark.parametrize("speed", [0.97, *SPEEDS, 25.0])
def test_ready_frames_stay_as_they_are_and_the_next_one_does_not(speed: float) -> None:
    grid = FrameGrid.of(RELEASED, speed)
    everything = torch.randn(640, 2, generator=torch.Generator().manual_seed(1))
    final = by_taps(grid, everything, 0, grid.total(640))
    for count in (*range(60), *range(590, 610)):
        ready = grid.ready(count)
        assert ready <= grid.total(count)
        index, _ = grid.taps(0, ready, count)
        assert index.max(initial=0) <= max(0, count - 1)
        assert np.array_equal(by_taps(grid, everything[:count], 0, ready), final[:ready])
        if ready < grid.total(count):
            next_one = by_taps(grid, everything[:count], ready, ready + 1)
            assert not np.allclose(next_one, final[ready : ready + 1], rtol=0, atol=1e-6)


def test_ready_is_the_published_rule_at_the_usual_speed() -> None:
    grid = FrameGrid.of(RELEASED)
    for count in range(1, 603):
        assert grid.ready(count) == np.ceil((4 * count - 2.5) * 24000 / 22050 - 0.5)


@pytest.mark.parametrize("bucket", [1, 16])
@pytest.mark.parametrize(
    "lengths", [[3], [40], [32, 85, 250, 700], [14, 15, 16, 17, 18, 400], [13, 96, 97], [5, 10, 0]]
)
def test_windows_speak_every_frame_once_with_context_up_to_the_edges(lengths: list[int], bucket: int) -> None:
    done = windows(lengths, bucket=bucket)
    assert [window.first for window in done] == [0, *(window.last for window in done[:-1])][: len(done)]
    assert (done[-1].last if done else 0) == lengths[-1]
    for window in done:
        assert 0 < window.length <= 96
        assert window.first < window.last
        assert window.first - window.start >= min(CONTEXT, window.first)
        assert window.stop - window.last >= min(CONTEXT, lengths[-1] - window.last)
        assert window.stop <= lengths[-1]


def test_an_unfinished_utterance_waits_until_the_least_number_of_frames_can_be_spoken() -> None:
    assert plan(0, 32, finished=False, max_frames=96, least=20) is None
    assert plan(0, 33, finished=False, max_frames=96, least=20) == Window(0, 33, 0, 20)
    assert plan(20, 33, finished=True, max_frames=96, least=20) == Window(7, 33, 20, 33)
    assert plan(33, 33, finished=True, max_frames=96) is None
    assert plan(50, 200, finished=False, max_frames=96, least=300) == Window(37, 133, 50, 120)


def test_lengths_come_in_buckets_by_more_context_on_the_left_or_fewer_frames_at_the_start() -> None:
    assert plan(100, 150, finished=False, max_frames=96, bucket=16) == Window(86, 150, 100, 137)
    assert plan(100, 140, finished=True, max_frames=96, bucket=16) == Window(76, 140, 100, 140)
    assert plan(0, 36, finished=False, max_frames=96, bucket=16) == Window(0, 32, 0, 19)
    assert plan(0, 36, finished=False, max_frames=96, bucket=16, least=20) == Window(0, 36, 0, 23)
    assert plan(0, 36, finished=True, max_frames=96, bucket=16) == Window(0, 36, 0, 36)
    assert all(window.length % 16 == 0 for window in windows([36, 85, 250, 703], bucket=16))


def test_a_window_knows_where_its_samples_are() -> None:
    window = Window(10, 60, 23, 47)
    assert window.samples(256) == slice(13 * 256, 37 * 256)
    with pytest.raises(dataclasses.FrozenInstanceError):
        window.start = 0  # type: ignore[misc]


def test_what_is_ready_is_worked_out_once_for_all_sentences_of_a_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    worked_out: list[int] = []
    ready = Interpolation.ready

    def watched(self: Interpolation, inputs: int) -> int:
        worked_out.append(inputs)
        return ready(self, inputs)

    monkeypatch.setattr(Interpolation, "ready", watched)
    one, same, other = (FrameGrid.of(RELEASED, speed) for speed in (1.2345, 1.2345, 1.2346))
    expected = one.ready(40)
    assert len(worked_out) == len(one.stages)
    assert one.ready(40) == same.ready(40) == expected
    assert len(worked_out) == len(one.stages)
    one.ready(41)
    other.ready(40)
    assert len(worked_out) == 3 * len(one.stages)
